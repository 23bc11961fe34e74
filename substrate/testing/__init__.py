"""substrate.testing"""
