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
# The switch fills this table by itself: that a flow in it comes or goes is not news.
LEARNED = 237
# ... and these, with what it has refused; such flows are nobody's item, and end by themselves.
RECORDER = 0x58495352 << 32         # 'XISR', in the high half of their cookies
MARKED, RECORDED = 245, 248
SELF_FILLED = (LEARNED, MARKED, RECORDED)
