"""What admins look at: the state of this host and what its policies come to.

Functions here read and return values; they do not print. `xsisolate.cli` shows them on a
terminal, the XAPI plugin as JSON.
"""
