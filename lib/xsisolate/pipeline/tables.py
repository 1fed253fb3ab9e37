"""The pipeline's tables, registers and flags.

A packet enters at table 0, is asked who sent it (ENTRY..SOURCE, or GUARD..CLAIMED
for a managed VIF), where it goes (DESTINATION, MULTICAST), whether the sender's
policy admits the receiver (EGRESS) and the receiver's policy the sender
(INGRESS), and is handed back to table 0 with CHECKED set. There foreign flows
and NORMAL act as they would without us; only what must not be flooded is
delivered by our own flow of the lowest priority.
"""
from xsisolate.openflow import ownership

# Stages in the order in which a packet meets them. 200 and above: PVS proxy
# uses 101 and 102, Open vSwitch itself 254, our headers 235 (openflow/ownership.py).
(GUARD, BIND, CLAIM, CLAIM_TARGET, CLAIMED, SETTLE, ENTRY, SOURCE, DESTINATION, MULTICAST,
 SEEK, SOUGHT, SPREAD, EGRESS, EGRESS_ANSWER, INGRESS, INGRESS_TARGET, INGRESS_ANSWER, ACCEPT,
 REPLY, PASS, DELIVER, LOCAL, REMOTELY, ANNOUNCE, FANOUT, PARTY, RESOLVE, CLASSIFY, PEERS, MEMBER,
 REMOTE, RULES, SPOOFED, ISOLATED_DROP) = range(200, 235)
# Behind the headers, for VIFs with additional MAC addresses: between BIND and CLAIM, which may
# stand in ARP and ND; between DESTINATION and itself, where one was last in use. And aside from
# SETTLE, for VIFs whose addresses are learned: what is copied to the daemon.
LINK_LAYER, PLACE, COPY = 236, ownership.LEARNED, ownership.COPIES
# Behind the drop points, for frames that go nowhere any more: see refusals.py.
FULL, RECORD, DESCRIBE, REFUSED, DETAIL, MARK = (
    ownership.MARKED, 246, 247, ownership.RECORDED, 249, 250)
# For VIFs that came by live migration: has it spoken here, and may its connections be taken up?
ARRIVED, RESUMED = ownership.ARRIVED, ownership.RESUMED

# Our band in table 0. Above everything a controller usually sends, so that a
# foreign "allow" cannot skip the check; our own delivery below all of it.
PRIORITY_SHUT = 65535       # nothing passes, for a moment
PRIORITY_PORT = 65500       # a managed VIF's port
PRIORITY_ENTRY = 65490      # every other port
PRIORITY_DELIVER = 1        # after foreign flows, before the switch's NORMAL

# Registers. 0 to 3 stay free for foreign flows (PVS proxy uses 0 to 2).
# reg4..7   the party's address (IPv4 in reg7), reg14 its family: 4 or 6;
#           while it is resolved, reg14[8..12] holds which owner is asked for
# reg8, 9   the MAC address that the party's address belongs to
# reg10, 11 the party's MAC address
# reg12     the set of peers that is asked
# reg13     network: NETWORK | VLAN tag; also the conntrack zone, which other bridges share
# reg15     flags
# metadata  the destination to deliver by, where it is not the one judged by; and whether it is;
#           bits 49 and 50: on egress, on ingress, a peer may not say this; 51 to 55 are notes
NETWORK = 0xa000            # keeps our conntrack zones apart from zone 0
UNKNOWN_NETWORK = 0xafff    # a port that appeared without a hook
OFPORT_LOCAL = 65534        # a bridge's own port, by which Dom0 itself is on it

# Flags: the bits of reg15.
CHECKED = 0         # judged: let table 0 switch it
UPLINK = 1          # came in from outside this host
MANAGED = 2         # came from a VIF with a policy, and is what it claims to be
ISOLATED = 3        # ... whose policy names the peers it may talk to
TO_LOCAL = 4        # goes to a managed VIF of this host
TO_ISOLATED = 5     # ... whose policy names the peers that may talk to it
TO_REMOTE = 6       # goes to a MAC address known to live beyond the uplink
TO_UPLINK = 7       # broadcast that only the uplink may see
OWN_DELIVERY = 8    # not for NORMAL: DELIVER knows where it goes
COMMIT = 9          # remember the connection: its replies may come back
ESTABLISHED = 10    # may pass only as the reply of a remembered connection
INGRESS_SIDE = 11   # the party asked about is the sender, the asker the receiver
TAG_ALLOWED = 12    # came from a trunk VIF, with a tag that it may use
FORWARDER = 13      # came from a VIF that is a gateway: it speaks for addresses outside
DHCP_SERVER = 14    # ... that answers DHCP
ADVERTISER = 15     # ... that sends router advertisements
ROLE_FLAGS = (FORWARDER, DHCP_SERVER, ADVERTISER)
# Answers of the questions that PARTY, RESOLVE and PEERS ask; cleared as one range.
FOUND = 16          # the party's address is known; reg8, 9 hold its MAC address
FOUND_ISOLATED = 17     # ... and belongs to an isolated VIF of this host
PAIR = 18           # the party's address and MAC address belong together
VIA_GATEWAY = 19    # the party's MAC address is a gateway's
EXTERNAL = 20       # the party's address lies outside the network
PLAIN = 21          # admitted
REQUEST = 22        # admitted, and may begin
REPLY_ONLY = 23     # admitted if it belongs to what was begun; in REPLY: was looked for in RESUMED
MISMATCH = 24       # a known address with a stranger's MAC address
SEEKING = 25        # only the MAC address is wanted
CLAIMING = 26       # asks only whether address and MAC address are the sender's own
CONTROL = 27        # ARP, ND and ICMP errors: no service names them
RESOLVING = 28      # ARP and ND
SPREADING = 29      # a multicast for the members of the sender's groups
TRIED = 30          # the address has an owner, but not this one
ANSWERS = (FOUND, TRIED)
TRACK_TFTP = 31     # a request is remembered with its data to come, or these may pass

# Notes, for permissive VIFs: bits of metadata (permissive.py).
JUDGED = 51         # a clone, which is judged and never leaves
FOR_RECEIVER = 52   # ... by the receiver's policy
TO_PERMISSIVE = 53  # goes to a permissive VIF, whose policy would name its peers
ITS_OWN = 54        # the MAC address is that of the permissive VIF at the port
FLOODED = 55        # a clone for whom a flood leaves out
