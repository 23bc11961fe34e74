"""emulators.networks"""
