"""Flows as OpenFlow 1.4 has them on the wire: the words of ovs-ofctl(8) in bytes, and back.

Only the words that our pipeline uses; what else a flow of ours may hold, when somebody
else has written it, keeps its bytes and is good enough to be compared and deleted.
"""
