"""emulators.memristors"""
