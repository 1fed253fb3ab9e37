"""Flows as OpenFlow 1.4 has them on the wire: the words of ovs-ofctl(8) in bytes, and back.

It knows only the words that our pipeline uses. If another program has written other words
under our cookie, they keep their bytes, which is enough to compare and delete the flow.
"""
