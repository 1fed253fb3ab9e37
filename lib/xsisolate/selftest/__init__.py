"""`xsisolate selftest`: does this host's switch do what policies say?

A bridge of its own, parties in network namespaces, programmed by the library that the hooks use;
real frames, and what became of each beside what the policy says of it. It touches nothing else.
"""
