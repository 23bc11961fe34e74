"""substrate.rules"""
