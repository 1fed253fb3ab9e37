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
SELF_FILLED = (LEARNED, ARRIVED, RESUMED)
