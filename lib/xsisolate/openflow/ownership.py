"""Whose flow is this: the high half of the cookie says that it is ours.

The flows of one table are headers, which record what is programmed; docs/pipeline.md, "Items".
"""

OWNER = 0x5849534f << 32            # 'XISO'
OWNER_MASK = 0xffffffff << 32
# Set in a header's cookie: one masked dump returns all headers and nothing else.
HEADER = 0x80000000
HEADER_MASK = OWNER_MASK | HEADER
# Whose connections get the frames that flows copy to the daemon; other controllers do not.
LISTENER = 0x5849                   # 'XI'
REGISTRY = 235                      # the headers' table; no packet reaches it
# The switch fills these tables by itself: that a flow in them comes or goes is not news.
LEARNED, ARRIVED, RESUMED = 237, 238, 239
# ... and these, with what it has refused; such flows are nobody's item, and end by themselves.
RECORDER = 0x58495352 << 32         # 'XISR', in the high half of their cookies
MARKED, RECORDED = 245, 248
SELF_FILLED = (LEARNED, ARRIVED, RESUMED, MARKED, RECORDED)
# Flows in this table copy to the daemon what VIFs ask of DHCP; no flow in it lets anything pass.
COPIES = 240
# The daemon's flows there that silence, for a while, a VIF that asks too much. No other process
# reads, compares or removes them: they go by themselves.
SILENCING = 0x5849534d << 32        # 'XISM'
