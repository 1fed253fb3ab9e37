"""ofproto/trace: a packet as Open vSwitch writes it, and what the switch says becomes of it.

The packet is described, not made: so the trace has no side effects, and the
switch learns nothing from it.
"""
import re
from typing import Dict, FrozenSet, List, NamedTuple, Tuple

from xsisolate.openflow.ownership import OWNER, OWNER_MASK
from xsisolate.pipeline.tables import ISOLATED_DROP, SPOOFED
from xsisolate.policy.address import format_prefix
from xsisolate.policy.admission import Talk
from xsisolate.policy.model import Prefix
from xsisolate.policy.service import PINGS, WITH_PORTS, protocol_number

TTL = 64
SYN, SYN_ACK = 0x2, 0x12
CT_NEW, CT_ANSWER = ('trk,new',), ('trk,est,rpl',)
CT_RELATED = ('trk,new,rel',) * 2      # looked up, and again once it is remembered
TABLE = re.compile(r'^ *(\d+)\. (.*)$', re.MULTILINE)
COOKIE = re.compile(r'cookie 0x([0-9a-f]+)')
ACTIONS = re.compile(r'^Datapath actions: (.*)$', re.MULTILINE)
BRACKETS = re.compile(r'\([^()]*\)')
PORT = re.compile(r'^ *(\S+) (\d+)/(\d+): ', re.MULTILINE)
OUR_STAGES = {SPOOFED: 'SPOOFED: the sender is not what it says it is',
              ISOLATED_DROP: 'ISOLATED_DROP: a policy does not admit it'}


class Traced(NamedTuple):
    """What becomes of a packet."""

    ports: FrozenSet[int]       # datapath numbers of the ports that it leaves by
    balanced: bool              # it leaves by a bond that has yet to choose a member
    end: str                    # the last thing that the switch did with it


def format_packet(in_port: int, vlan: int, macs: Tuple[str, str], addresses: Tuple[Prefix, Prefix],
                  talk: Talk) -> str:
    """Return a packet as ofproto/trace wants it; vlan 0: untagged."""
    source, target = addresses
    names = ('nw_src', 'nw_dst') if source.version == 4 else ('ipv6_src', 'ipv6_dst')
    fields = ['in_port=%d' % in_port]
    fields += ['vlan_tci=0x%x' % (0x1000 | vlan)] if vlan else []
    fields += ['dl_src=' + macs[0], 'dl_dst=' + macs[1],
               _protocol(talk.protocol, source.version),
               '%s=%s' % (names[0], format_prefix(source)),
               '%s=%s' % (names[1], format_prefix(target)), 'nw_ttl=%d' % TTL]
    if talk.protocol in PINGS:
        kind = 'icmp' if source.version == 4 else 'icmpv6'
        fields += ['%s_type=%d' % (kind, talk.icmp_type), kind + '_code=0']
    elif talk.protocol in WITH_PORTS:
        fields += ['%s_src=%d' % (talk.protocol, talk.source),
                   '%s_dst=%d' % (talk.protocol, talk.destination)]
    if talk.protocol == 'tcp':
        fields.append('tcp_flags=0x%x' % (SYN_ACK if talk.answer else SYN))
    return ','.join(fields)


def _protocol(protocol: str, version: int) -> str:
    """Return the words for a protocol in an IP version."""
    if protocol in PINGS:
        return protocol
    if protocol in WITH_PORTS:
        return protocol + ('6' if version == 6 else '')
    return '%s,nw_proto=%d' % ('ip' if version == 4 else 'ipv6', protocol_number(protocol))


def parse_trace(text: str) -> Traced:
    """Return what ofproto/trace says."""
    ports: List[int] = []
    balanced = False
    answers = ACTIONS.findall(text)
    for answer in answers:
        plain = answer
        while BRACKETS.search(plain):
            plain = BRACKETS.sub('', plain)
        words = [word.strip() for word in plain.split(',')]
        ports += [int(word) for word in words if word.isdigit()]
        balanced = balanced or 'recirc' in words and 'ct' not in words
    return Traced(frozenset(ports), balanced, _find_end(text))


def _find_end(text: str) -> str:
    """Return where a packet ended, in words."""
    tables = [(int(table), rest) for table, rest in TABLE.findall(text)]
    if not tables:
        return 'nothing was traced'
    for table, _ in tables:
        if table in OUR_STAGES:
            return 'table %d, %s' % (table, OUR_STAGES[table])
    table, rest = tables[-1]
    found = COOKIE.search(rest)
    whose = '' if found and int(found.group(1), 16) & OWNER_MASK == OWNER else (
        ', a flow that is not ours')
    return 'table %d, %s%s' % (table, rest.strip(), whose)


def parse_ports(text: str) -> Dict[str, int]:
    """Return the datapath's numbers of all ports by name, from `dpif/show`."""
    return {name: int(number) for name, _, number in PORT.findall(text)}


def find_ct(talk: Talk, asked: bool) -> Tuple[str, ...]:
    """Return what connection tracking would say of a packet, each time that it is asked."""
    if talk.related and talk.answer and asked:
        return CT_RELATED
    return CT_ANSWER if talk.answer and asked else CT_NEW
