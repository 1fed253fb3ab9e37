"""What the switch has recorded of refused frames (pipeline/refusals.py), as values."""
import re
from typing import Dict, Iterator, List, NamedTuple, Tuple

from xsisolate.openflow.ownership import MARKED, RECORDED, RECORDER
from xsisolate.pipeline.refusals import (BIT_INGRESS, BIT_LOCAL, BIT_MISMATCH,
                                         BIT_SERVICE_EGRESS, BIT_SERVICE_INGRESS, BIT_UPLINK,
                                         BIT_WOULD_BE, Reason)
from xsisolate.pipeline.tables import JUDGED
from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import Prefix
from xsisolate.policy.service import NAMES, WITH_PORTS, WITH_TYPES

IPV4, ARP, IPV6 = 0x800, 0x806, 0x86dd
NEIGHBOUR = ('icmp6/135', 'icmp6/136')
EGRESS, INGRESS = 'egress', 'ingress'
# The words of reasons; `explain` says the same at more length.
WORDS: Dict[int, str] = {
    Reason.MAC: 'spoofed MAC', Reason.ADDRESS: 'spoofed IP', Reason.CLAIM: 'ARP or ND claim',
    Reason.DHCP: 'DHCP server', Reason.ROUTER: 'router advertisement', Reason.VLAN: 'VLAN tag',
    Reason.SWITCH: 'switch protocol', Reason.QUERIER: 'multicast querier',
    Reason.REDIRECT: 'ICMP redirect', Reason.PIECES: 'fragment', Reason.KIND: 'kind of frame',
    Reason.CONTROL: 'ICMPv6 type', Reason.MULTICAST: 'multicast',
    Reason.CLOSED: 'receiver is closed', Reason.UNASKED: 'answer to nothing asked'}
NOT_A_PEER, NO_SERVICE = 'not a peer on ', 'service not allowed on '
NOT_ITS_ADDRESS, UNASKED = "another's address", WORDS[Reason.UNASKED]
ALL_WORDS = (*WORDS.values(), *(text + side for text in (NOT_A_PEER, NO_SERVICE)
                                for side in (EGRESS, INGRESS)), NOT_ITS_ADDRESS)

LINE = re.compile(r' cookie=0x([0-9a-f]+), duration=([0-9.]+)s, table=(\d+), n_packets=(\d+), .*?'
                  r'(?:idle_age=(\d+), )?(?:hard_age=\d+, )?priority=1,(\S+) actions=')


class Refusal(NamedTuple):
    """One kind of refused frames: those that differ in nothing that is recorded.

    An enforced policy's are another kind than a permissive one's, which have passed.
    """

    in_port: int
    network: int
    source_mac: str
    target_mac: str
    source: str             # addresses, '' where there are none
    target: str
    service: str            # tcp/443, icmp/8, arp, VLAN 120, 0x88cc
    answer: bool            # the service is the sender's
    reason: str
    side: str               # whose policy it is: the sender's (egress) or the receiver's
    uplink: bool            # it came in by the uplink
    passed: bool = False    # it was judged only, for a permissive VIF: it would be refused


class Seen(NamedTuple):
    """What a flow of the record says of a kind."""

    refusal: Refusal
    packets: int            # without the first
    age: float              # seconds since the first
    idle: float             # seconds since the last


class Marked(NamedTuple):
    """Frames that were refused while a record was full."""

    in_port: int            # their sender's; 0: it has no policy, and they are for
    network: int            # ... this network's
    target_mac: str         # ... MAC address
    packets: int
    age: float
    passed: bool = False    # they were judged only


def parse_seen(text: str) -> Iterator[Seen]:
    """Yield what the record holds, from `ovs-ofctl -O OpenFlow10 --no-names dump-flows`."""
    for table, age, packets, idle, fields in _parse(text):
        if table == RECORDED and 'reg14' in fields:
            yield Seen(_refusal(fields), packets, age, age if not packets else idle)


def parse_marked(text: str) -> Iterator[Marked]:
    """Yield what has been ended by marks, from the same output."""
    for table, age, packets, _, fields in _parse(text):
        if table == MARKED:
            judged = int(fields.get('metadata', '0').partition('/')[0], 0) >> JUDGED & 1
            yield Marked(int(fields.get('in_port', '0')), int(fields.get('reg13', '0'), 0),
                         fields.get('dl_dst', ''), packets, age, bool(judged))


def _parse(text: str) -> Iterator[Tuple[int, float, int, float, Dict[str, str]]]:
    for line in text.splitlines():
        found = LINE.match(line)
        if found and int(found.group(1), 16) >> 32 == RECORDER >> 32:
            _, age, table, packets, idle, match = found.groups()
            fields = [word.partition('=') for word in match.split(',')]
            yield (int(table), float(age), int(packets), float(idle or 0),
                   {name: value for name, _, value in fields})


def _refusal(fields: Dict[str, str]) -> Refusal:
    registers = [int(fields.get('reg%d' % number, '0'), 0) for number in range(16)]
    facts, what = registers[14], registers[12]
    ether, reason = facts & 0xffff, facts >> 24
    service = _service(ether, what, reason)
    side = _side(facts, reason)
    return Refusal(
        int(fields.get('in_port', '0')) if fields.get('in_port', '0').isdigit() else 0,
        registers[13], fields.get('dl_src', ''), fields.get('dl_dst', ''),
        _address(ether, registers[4:8]), _address(ether, registers[8:12]), service,
        bool(what >> 24 & 1), _word(facts, reason, service, side), side,
        bool(facts >> BIT_UPLINK & 1), bool(facts >> BIT_WOULD_BE & 1))


def _address(ether: int, words: List[int]) -> str:
    if ether in (IPV4, ARP):
        return format_prefix(Prefix(4, words[3], 32)) if words[3] else ''
    value = words[0] << 96 | words[1] << 64 | words[2] << 32 | words[3]
    return format_prefix(Prefix(6, value, 128)) if ether == IPV6 and value else ''


def _service(ether: int, what: int, reason: int) -> str:
    number, protocol = what & 0xffff, what >> 16 & 0xff
    if reason == Reason.VLAN:
        return 'VLAN %d' % number
    if ether == ARP:
        return 'arp'
    if ether not in (IPV4, IPV6):
        return '0x%04x' % ether
    name = NAMES.get(protocol)
    if name in WITH_PORTS or name in WITH_TYPES:
        return '%s/%d' % (name, number)
    return name or 'ip/%d' % protocol


def _side(facts: int, reason: int) -> str:
    if reason in (Reason.POLICY, Reason.MULTICAST):
        return INGRESS if facts >> BIT_INGRESS & 1 else EGRESS
    return INGRESS if reason == Reason.CLOSED or facts >> BIT_LOCAL & 1 else EGRESS


def _word(facts: int, reason: int, service: str, side: str) -> str:
    if reason == Reason.ADDRESS and (service == 'arp' or service in NEIGHBOUR):
        return WORDS[Reason.CLAIM]
    if reason != Reason.POLICY:
        return WORDS.get(reason, 'reason %d' % reason)
    if facts >> BIT_MISMATCH & 1:
        return NOT_ITS_ADDRESS
    if facts >> (BIT_SERVICE_INGRESS if side == INGRESS else BIT_SERVICE_EGRESS) & 1:
        return NO_SERVICE + side
    return NOT_A_PEER + side
