"""What admins look at: the state of this host and what its policies come to.

Functions here read and return values; nobody prints. `xsisolate.cli` shows them on a
terminal, the XAPI plugin as JSON.
"""
