"""The neighbours in Dom0: one module each, input and output only, no decisions."""
