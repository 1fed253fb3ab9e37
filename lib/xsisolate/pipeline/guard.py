"""GUARD: what no managed VIF may send, whatever its addresses.

Forgeries of routers, DHCP servers, multicast queriers, other VLANs and switch
protocols end here; so does what cannot be judged, such as ICMPv6 in fragments
(RFC 6980: receivers should ignore it, not all do).
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.refusals import Reason, because
from xsisolate.pipeline.tables import ADVERTISER, BIND, DHCP_SERVER, GUARD, SPOOFED, TAG_ALLOWED
from xsisolate.pipeline.terms import MULTICAST_MAC, TAGGED, flags, goto, icmp6
from xsisolate.typing_compat import Iterator

DHCP_FROM_SERVER, DHCP6_FROM_SERVER = 'udp,tp_src=67', 'udp6,tp_src=547'
# 802.1D's reserved group addresses: STP, LACP, 802.1X, LLDP.
SWITCH_PROTOCOLS = 'dl_dst=01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0'
# Destination unreachable, too big, time exceeded, parameter problem, echo
# request and reply, MLD reports and done.
ICMP6_ALLOWED = (1, 2, 3, 4, 128, 129, 131, 132, 143)
# Router and neighbour solicitation, neighbour advertisement: RFC 4861 wants
# hop limit 255 and code 0 of them.
ND_ALLOWED = ('icmp6,icmp_type=133,icmp_code=0', icmp6(135), icmp6(136))

# Version 3 reports and version 2 leaves; queries have other destinations.
# Harmless only where the bridge itself does not follow IGMP (see delivery.py).
IGMP_REPORTS = ('ip,nw_proto=2,nw_dst=224.0.0.22', 'ip,nw_proto=2,nw_dst=224.0.0.2')

REFUSED = (
    (200, TAGGED + ',' + flags(off=[TAG_ALLOWED]), Reason.VLAN),
    (190, SWITCH_PROTOCOLS, Reason.SWITCH),
    # No machine sends from a multicast, broadcast or loopback address.
    (185, 'ip,nw_src=224.0.0.0/3', Reason.ADDRESS),
    (185, 'ip,nw_src=127.0.0.0/8', Reason.ADDRESS),
    (185, 'ipv6,ipv6_src=ff00::/8', Reason.ADDRESS),
    (185, 'ipv6,ipv6_src=::1', Reason.ADDRESS),
    (180, 'icmp6,nw_frag=yes', Reason.PIECES),
    # Headers that the packet, or its first fragment, does not hold to the end
    # (RFC 7112): what is behind them the receiver sees, and the switch does not.
    (180, 'ipv6,nw_proto=0', Reason.PIECES),
    (180, 'ip,nw_frag=yes,' + MULTICAST_MAC, Reason.PIECES),
    (180, 'ipv6,nw_frag=yes,' + MULTICAST_MAC, Reason.PIECES),
    # A DHCP server answers from 67, a relay too; whatever goes to a client's
    # port is an answer.
    (170, 'udp,tp_dst=68', Reason.DHCP),
    (170, DHCP_FROM_SERVER, Reason.DHCP),
    (170, 'udp6,tp_dst=546', Reason.DHCP),
    (170, DHCP6_FROM_SERVER, Reason.DHCP),
    # Redirects and router advertisements (RFC 1256) of IPv4.
    (170, 'icmp,icmp_type=5', Reason.REDIRECT),
    (170, 'icmp,icmp_type=9', Reason.ROUTER),
    (152, 'icmp6,icmp_type=134', Reason.ROUTER),
    (152, 'icmp6,icmp_type=137', Reason.REDIRECT),
    (152, 'icmp6,icmp_type=130', Reason.QUERIER),
    # ... and what is yet to be invented.
    (150, 'icmp6', Reason.CONTROL),
    # The switch cannot tell an IGMP report from a query, and a querier is
    # sent all multicast.
    (150, 'ip,nw_proto=2', Reason.QUERIER),
    (0, '', Reason.KIND),
)

# What those may say who hold the role.
GRANTED = ((175, DHCP_FROM_SERVER, DHCP_SERVER), (175, DHCP6_FROM_SERVER, DHCP_SERVER),
           (175, 'icmp6,icmp_type=134,icmp_code=0,nw_ttl=255', ADVERTISER))

ACCEPTED = tuple([(160, icmp6(kind)) for kind in ICMP6_ALLOWED]
                 + [(160, match + ',nw_ttl=255') for match in ND_ALLOWED]
                 + [(100, 'ip'), (100, 'ipv6'), (100, 'arp,arp_op=1'), (100, 'arp,arp_op=2')])


def guard_flows() -> Iterator[Flow]:
    """Yield the fixed flows of GUARD."""
    for priority, match, reason in REFUSED:
        yield make_flow(GUARD, priority, [match], because(reason, SPOOFED))
    for priority, match, role in GRANTED:
        yield make_flow(GUARD, priority, [match, flags(role)], goto(BIND))
    for priority, match in ACCEPTED:
        yield make_flow(GUARD, priority, [match], goto(BIND))
