"""Dialects of instruments, and how bytes become messages."""
