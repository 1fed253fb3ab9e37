"""Flows in an admin's words: stages, registers, flags, ports and peers by name.

Numbers of other programs' flows stay as they are.
"""
import re
from typing import Dict, Iterator, List, Mapping, Match, NamedTuple, Optional, Tuple

from xsisolate.openflow.fields import format_mac
from xsisolate.pipeline import refusals, tables
from xsisolate.pipeline.refusals import Reason
from xsisolate.pipeline.terms import KEPT, NEXT_OWNER, NOT_KEPT
from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import Prefix

FIRST, LAST = tables.GUARD, tables.MARK
PRIORITY = 'PRIORITY_'
STAGES: Mapping[int, str] = {
    number: name for name, number in vars(tables).items()
    if name.isupper() and isinstance(number, int) and FIRST <= number <= LAST}
FLAGS: Mapping[int, str] = {
    bit: name for name, bit in vars(tables).items()
    if name.isupper() and isinstance(bit, int) and bit < 32 and not name.startswith(PRIORITY)}

# What registers hold; see pipeline/tables.py.
PARTY, FAMILY, OWNER_MAC, PARTY_MAC, PEERS, NETWORK, REG_FLAGS = (
    (4, 5, 6, 7), 14, (8, 9), (10, 11), 12, 13, 15)
FIELDS: Mapping[str, str] = {
    'NXM_NX_REG7[]': 'party', 'NXM_NX_XXREG1[]': 'party',
    'NXM_NX_REG8[]': 'owner_mac.high', 'NXM_NX_REG9[]': 'owner_mac.low',
    'NXM_NX_REG10[]': 'party_mac.high', 'NXM_NX_REG11[]': 'party_mac.low',
    'NXM_NX_XXREG2[0..47]': 'party_mac', 'NXM_NX_XXREG2[64..111]': 'owner_mac',
    'NXM_NX_REG14[]': 'family', NEXT_OWNER: 'owner_number',
    'NXM_NX_REG12[]': 'peers', 'NXM_NX_REG13[]': 'network', 'NXM_NX_REG13[0..15]': 'network',
    'NXM_NX_REG13[0..11]': 'network.vlan', 'NXM_NX_REG13[12..15]': 'network.mark',
    'NXM_OF_VLAN_TCI[]': 'vlan_tci', 'NXM_OF_VLAN_TCI[0..11]': 'vlan',
    'NXM_OF_VLAN_TCI[12]': 'vlan_present', 'NXM_OF_IN_PORT[]': 'in_port',
    'NXM_OF_ETH_SRC[]': 'dl_src', 'NXM_OF_ETH_DST[]': 'dl_dst', 'NXM_OF_IP_SRC[]': 'nw_src',
    'NXM_OF_IP_DST[]': 'nw_dst', 'NXM_OF_ARP_SPA[]': 'arp_spa', 'NXM_OF_ARP_TPA[]': 'arp_tpa',
    'NXM_NX_IPV6_SRC[]': 'ipv6_src', 'NXM_NX_IPV6_DST[]': 'ipv6_dst',
    'NXM_NX_ND_TARGET[]': 'nd_target', 'OXM_OF_METADATA[0..47]': 'kept_destination',
    'OXM_OF_METADATA[48]': 'destination_kept', 'NXM_NX_XXREG2[]': 'receiver',
    'NXM_NX_REG12[0..7]': 'number', 'NXM_NX_REG12[0..11]': 'number', refusals.NUMBER: 'number',
    refusals.PROTOCOL: 'protocol', refusals.FROM_PORT: 'from_server', refusals.WHY: 'reason',
    refusals.ETHER: 'ether_type'}
LOAD = re.compile(r'(?:load|set_field):([^-]+)->(\S+)')
MOVE = re.compile(r'move:(\S+?)->(\S+)')
FLAG_BITS = re.compile(r'NXM_NX_REG15\[(\d+)(?:\.\.(\d+))?\]')
RESUBMIT = re.compile(r'resubmit\((\S*?),(\d+)\)')
TABLE = re.compile(r'\btable=(\d+)')
OUTPUT = re.compile(r'output:(\d+)')
TRACED = re.compile(r'(?P<indent> *)(?P<table>\d+)\. (?:(?P<match>\S+), )?'
                    r'priority (?P<priority>\d+)(?:, cookie 0x[0-9a-f]+)?')
MISSED = re.compile(r'(?P<indent> *)(?P<table>\d+)\. (?P<why>No match.*)')
FULL = 0xffffffff
OWNER_NUMBER = 0x1f00           # in the family's register
REASON = 0xff000000             # in the same
REASONS = {reason.value: reason.name for reason in Reason}
WHOLE_MAC = 'ff:ff:ff:ff:ff:ff'
METADATA = {KEPT: 'destination_kept', NOT_KEPT: 'destination_not_kept'}

Words = List[str]
Value = Tuple[int, int]         # and mask


class Names(NamedTuple):
    """What numbers of one bridge stand for."""

    ports: Mapping[int, str] = {}           # by OpenFlow number
    networks: Mapping[int, str] = {}        # by NETWORK | VLAN tag
    peers: Mapping[int, str] = {}           # groups and allow lists, by id

    def port(self, number: int) -> str:
        """Return a port's name, or its number."""
        return self.ports.get(number, str(number))

    def network(self, number: int) -> str:
        """Return a network's name, or what its number says."""
        if number == tables.UNKNOWN_NETWORK:
            return 'unknown'
        vlan = number & 0xfff
        return self.networks.get(number) or ('VLAN %d' % vlan if vlan else 'untagged')


def stage(table: int) -> str:
    """Return the name of a table with its number, `207 SOURCE`; of a foreign table the number."""
    return ' '.join(filter(None, (str(table), STAGES.get(table))))


def decode_match(match: str, names: Names) -> str:
    """Return a match in words; it says as much as the match does."""
    registers: Dict[int, Value] = {}
    words: Words = []
    for word in match.split(','):
        name, _, value = word.partition('=')
        number = int(name[3:]) if name.startswith('reg') and name[3:].isdigit() else -1
        if number >= 0 and _parse(value):
            registers[number] = _parse(value) or (0, 0)
        elif name == 'in_port' and value.isdigit():
            words.append('in_port=' + names.port(int(value)))
        elif word:
            words.append(METADATA.get(word, word))
    return ' '.join(words + list(_registers(registers, names))) or 'everything'


def _parse(text: str) -> Optional[Value]:
    value, _, mask = text.partition('/')
    try:
        return int(value, 0), int(mask, 0) if mask else FULL
    except ValueError:
        return None


def _registers(held: Dict[int, Value], names: Names) -> Iterator[str]:
    """Yield what a match asks of registers."""
    yield from _party(held)
    for name, pair in (('owner_mac', OWNER_MAC), ('party_mac', PARTY_MAC)):
        if set(pair) <= held.keys():
            (high, high_mask), (low, low_mask) = [held.pop(number) for number in pair]
            width = _mac(high_mask & 0xffff, low_mask)
            yield '%s=%s%s' % (name, _mac(high, low), '' if width == WHOLE_MAC else '/' + width)
    for number in sorted(held):
        value, mask = held[number]
        if number == REG_FLAGS:
            yield _flags(value, mask)
        elif number == PEERS and mask == FULL:
            yield 'peers=' + _peers(value, names)
        elif number == NETWORK and mask == FULL:
            yield 'network=' + names.network(value)
        elif number == FAMILY and mask == REASON:
            yield 'reason=' + REASONS.get(value >> 24, str(value >> 24))
        elif number == FAMILY and mask == OWNER_NUMBER:
            yield 'owner_number=%d' % (value >> 8)
        else:
            yield 'reg%d=0x%x%s' % (number, value, '' if mask == FULL else '/0x%x' % mask)


def _party(held: Dict[int, Value]) -> Iterator[str]:
    """Yield the party's address, its prefix or its family."""
    value, mask = held.get(FAMILY, (0, 0))
    version = value & 0xff
    if mask != FULL or version not in (4, 6):
        return
    del held[FAMILY]
    registers = PARTY[-1:] if version == 4 else PARTY
    words = [held.pop(number, (0, 0)) for number in registers]
    whole = bits = 0
    for word, covered in words:
        whole, bits = whole << 32 | word, bits << 32 | covered
    length = bin(bits).count('1')
    owner = ' owner_number=%d' % (value >> 8) if value >> 8 else ''
    yield ('party=%s' % format_prefix(Prefix(version, whole, length)) if length else
           'party is IPv%d' % version) + owner


def _mac(high: int, low: int) -> str:
    return format_mac(high << 32 | low)


def _peers(number: int, names: Names) -> str:
    return '(%s)' % names.peers[number] if number in names.peers else str(number)


def _flags(value: int, mask: int) -> str:
    """Return the flags that must be set and that must not."""
    if mask == FULL and not value:
        return 'no flag'
    bits = [bit for bit in range(32) if mask >> bit & 1]
    return ' '.join(('+' if value >> bit & 1 else '-') + FLAGS.get(bit, 'bit %d' % bit)
                    for bit in bits)


def decode_actions(actions: str, names: Names) -> str:
    """Return actions in words, in their order."""
    parts = list(split_actions(actions))
    words: Words = []
    while parts:
        pair = _decode_mac(parts[:2])
        words.append(pair or _decode_action(parts[0], names))
        del parts[:2 if pair else 1]
    return ', '.join(words) or 'drop'


def _decode_mac(actions: Words) -> str:
    """Return what two loads into a pair of registers say, '' if they are not such loads."""
    loads = [LOAD.fullmatch(action) for action in actions]
    for name, pair in (('owner_mac', OWNER_MAC), ('party_mac', PARTY_MAC)):
        if [load and load.group(2) for load in loads] == ['NXM_NX_REG%d[]' % one for one in pair]:
            return '%s:=%s' % (name, _mac(*[int(load.group(1), 0) for load in loads if load]))
    return ''


def split_actions(actions: str) -> Iterator[str]:
    """Yield actions one by one; commas within brackets part none."""
    depth, begin = 0, 0
    for at, char in enumerate(actions):
        depth += (char == '(') - (char == ')')
        if char == ',' and not depth:
            yield actions[begin:at]
            begin = at + 1
    if actions[begin:]:
        yield actions[begin:]


def _decode_action(action: str, names: Names) -> str:
    load, move = LOAD.fullmatch(action), MOVE.fullmatch(action)
    if load:
        return _decode_load(load.group(1), load.group(2), names)
    if move:
        return '%s:=%s' % (FIELDS.get(move.group(2), move.group(2)),
                           FIELDS.get(move.group(1), move.group(1)))
    resubmit, output = RESUBMIT.fullmatch(action), OUTPUT.fullmatch(action)
    if resubmit:
        return 'ask ' + stage(int(resubmit.group(2)))
    if output:
        return 'output to ' + names.port(int(output.group(1)))
    for field, name in FIELDS.items():
        action = action.replace(field, name)
    action = FLAG_BITS.sub(_name_flags, action)
    return TABLE.sub(lambda found: 'table=' + stage(int(found.group(1))), action)


def _name_flags(found: Match[str]) -> str:
    return ' to '.join(FLAGS[int(bit)] for bit in found.groups() if bit)


def _decode_load(text: str, field: str, names: Names) -> str:
    bits = FLAG_BITS.fullmatch(field)
    value = int(text, 0)
    if bits:
        return ('raise ' if value else 'lower ') + _name_flags(bits)
    name = FIELDS.get(field, field)
    shown = {'peers': _peers(value, names), 'network': names.network(value),
             'family': 'IPv%d' % value, 'reason': REASONS.get(value, text)}.get(name, text)
    return '%s:=%s' % (name, shown)


def decode_trace(text: str, names: Names) -> List[str]:
    """Return the lines of ofproto/trace in the words of a dump."""
    return [_decode_traced(line.rstrip(), names) for line in text.splitlines() if line.strip()]


def _decode_traced(line: str, names: Names) -> str:
    met, missed = TRACED.fullmatch(line), MISSED.fullmatch(line)
    if met:
        return '%s%s, priority %s: %s' % (
            met.group('indent'), stage(int(met.group('table'))), met.group('priority'),
            decode_match(met.group('match') or '', names))
    if missed:
        return '%s%s: %s' % (missed.group('indent'), stage(int(missed.group('table'))),
                             missed.group('why'))
    action = line.strip()
    indent = line[:len(line) - len(action)]
    return indent + _decode_action(action, names) if indent else line
