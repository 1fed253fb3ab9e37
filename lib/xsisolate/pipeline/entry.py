"""Table 0, ENTRY and SOURCE: which port sent this, and into which network?"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.refusals import Reason, because
from xsisolate.pipeline.tables import (CHECKED, DELIVER, DESTINATION, ENTRY, GUARD, MANAGED,
                                       NETWORK, OFPORT_LOCAL, OWN_DELIVERY, PRIORITY_DELIVER,
                                       PRIORITY_ENTRY, PRIORITY_PORT, PRIORITY_SHUT, SOURCE,
                                       SPOOFED, TAG_ALLOWED, UNKNOWN_NETWORK, UPLINK)
from xsisolate.pipeline.terms import flags, goto, load_mac, network_match, raised, unknown_priority
from xsisolate.typing_compat import Iterable, Iterator, Optional, Tuple

FROM_TAG = ('load:0xa->NXM_NX_REG13[12..15]', 'move:NXM_OF_VLAN_TCI[0..11]->NXM_NX_REG13[0..11]')


def entry_flows() -> Iterator[Flow]:
    """Yield the fixed flows of table 0, ENTRY and SOURCE."""
    yield make_flow(0, PRIORITY_ENTRY, ['reg15=0'], goto(ENTRY))
    yield make_flow(0, PRIORITY_DELIVER, [flags(CHECKED, OWN_DELIVERY)], goto(DELIVER))
    yield make_flow(ENTRY, 0, [''], load_network(UNKNOWN_NETWORK), goto(SOURCE))
    yield make_flow(SOURCE, 0, [''], goto(DESTINATION))


def load_network(network: int) -> str:
    """Return the action that names the packet's network."""
    return 'load:0x%x->NXM_NX_REG13[]' % network


def managed_port_flow(ofport: int, network: int, mac: str, bits: Iterable[int]) -> Flow:
    """Return the hook for what a VIF sends: whose MAC address it is judged by, and its flags."""
    return make_flow(0, PRIORITY_PORT, ['in_port=%d' % ofport, 'reg15=0'],
                     load_network(network), load_mac(10, mac), raised(*bits), goto(GUARD))


# Only 802.1Q's tags: to a switch beyond the uplink 802.1ad's name other networks.
RETAG = ('push:NXM_OF_VLAN_TCI[]', 'pop_vlan', 'push_vlan:0x8100', 'pop:NXM_OF_VLAN_TCI[]')


def trunk_port_flows(ofport: int, networks: Iterable[int], mac: str,
                     bits: Iterable[int]) -> Iterator[Flow]:
    """Yield the hooks for what a trunk VIF sends: its own VLANs' tags and no others."""
    bits = tuple(bits)
    for network in networks:
        vlan = network & 0xfff
        tag = 'dl_vlan=%d' % vlan if vlan else 'vlan_tci=0x0000/0x1000'
        yield make_flow(0, PRIORITY_PORT, ['in_port=%d' % ofport, 'reg15=0', tag],
                        *(RETAG if vlan else ()), load_network(network),
                        load_mac(10, mac), raised(*bits, TAG_ALLOWED), goto(GUARD))
    yield make_flow(0, PRIORITY_PORT - 1, ['in_port=%d' % ofport, 'reg15=0'],
                    load_network(NETWORK), raised(MANAGED), because(Reason.VLAN, SPOOFED))


def shut_flow() -> Flow:
    """Return the flow above all others that lets nothing pass."""
    return make_flow(0, PRIORITY_SHUT, [''])


def closed_port_flow(ofport: int) -> Flow:
    """Return the hook for what a disabled or quarantined VIF sends."""
    return make_flow(0, PRIORITY_PORT, ['in_port=%d' % ofport, 'reg15=0'])


def uplink_flow(ofport: int) -> Flow:
    """Return the flow for what comes in from outside; the frame's tag names its network."""
    port = 'LOCAL' if ofport == OFPORT_LOCAL else '%d' % ofport
    return make_flow(ENTRY, 100, ['in_port=' + port], *FROM_TAG, raised(UPLINK), goto(SOURCE))


def other_port_flow(port: str, tag: Optional[int]) -> Flow:
    """Return the flow for a port without policy; no tag: the frame's own tag counts."""
    network: Tuple[str, ...] = FROM_TAG if tag is None else (load_network(NETWORK | tag),)
    return make_flow(ENTRY, 100, ['in_port=%s' % port], *network, goto(SOURCE))


def theft_flows(network: int, mac: str, arriving: bool) -> Iterator[Flow]:
    """Yield what keeps others from using a MAC address.

    While its VM arrives from another host its frames still come from the uplink.
    """
    elsewhere = flags(off=[UPLINK]) if arriving else ''
    yield make_flow(SOURCE, 50, [network_match(network), 'dl_src=%s' % mac, elsewhere])
    yield make_flow(SOURCE, unknown_priority(network),
                    [network_match(UNKNOWN_NETWORK), 'dl_src=%s' % mac])
