"""The virtual bench: instruments on the wire, all acting on one emulated circuit."""
