"""Proves of a flow that no frame can tell whether it is there.

Seen in one table: such a flow is hidden by one above it, or what is below it does
the same. Where it is not certain whether two matches overlap, they do.
"""
import ipaddress
import re
from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Tuple, Union

DROP = 'drop'
# A value and its mask, or what can only be compared as text.
Field = Union[Tuple[int, int], str]
# Table, priority, match.
Place = Tuple[int, int, FrozenSet[Tuple[str, Field]]]

# What the words for a protocol mean, by number: Ethernet's type and IP's protocol.
PROTOCOLS = {'arp': (0x806, None), 'ip': (0x800, None), 'ipv6': (0x86dd, None),
             'icmp': (0x800, 1), 'tcp': (0x800, 6), 'udp': (0x800, 17),
             'igmp': (0x800, 2), 'tcp6': (0x86dd, 6), 'udp6': (0x86dd, 17), 'icmp6': (0x86dd, 58)}
EVERY_BIT = (1 << 128) - 1
TRACED = re.compile(r'^ *(\d+)\. (?:(\S+), )?priority (\d+)', re.MULTILINE)


class Row(NamedTuple):
    """A flow as the dump prints it, taken apart."""

    line: str
    table: int
    priority: int
    match: str
    actions: str
    fields: Dict[str, Field]

    @property
    def place(self) -> Place:
        """What tells it from every other flow, in the dump as in a trace."""
        return self.table, self.priority, frozenset(self.fields.items())


def parse_row(line: str) -> Row:
    """Return a line of the dump, taken apart."""
    head, actions = line.split(' actions=')
    table = re.search(r'\btable=(\d+)', head)
    found = re.search(r'\bpriority=(\d+),?(.*)', head)
    assert found, line
    return Row(line, int(table.group(1)) if table else 0, int(found.group(1)), found.group(2),
               actions, parse_match(found.group(2)))


def parse_trace(text: str) -> FrozenSet[Place]:
    """Return the flows that a frame has met, by ofproto/trace."""
    return frozenset((int(table), int(priority), frozenset(parse_match(match).items()))
                     for table, match, priority in TRACED.findall(text))


def parse_match(match: str) -> Dict[str, Field]:
    """Return a match by field."""
    fields: Dict[str, Field] = {}
    for word in filter(None, match.split(',')):
        name, _, value = word.partition('=')
        if value:
            fields[name] = parse_value(value)
            continue
        kind, protocol = PROTOCOLS[name]
        fields['dl_type'] = kind, EVERY_BIT
        if protocol is not None:
            fields['nw_proto'] = protocol, EVERY_BIT
    return fields


def parse_value(text: str) -> Field:
    """Return a number or address with its mask; what is neither stays as it is."""
    value, _, mask = text.partition('/')
    try:
        number = parse_number(value)
        if not mask:
            return number, EVERY_BIT
        if mask.isdigit() and not value.isdigit():      # a prefix length
            width = 128 if ':' in value else 32
            bits = (1 << width) - (1 << width - int(mask))
        else:
            bits = parse_number(mask)
        return number & bits, bits
    except ValueError:
        return text


def parse_number(text: str) -> int:
    """Return a number, MAC address or IP address as a number."""
    if re.fullmatch('([0-9a-f]{2}:){5}[0-9a-f]{2}', text):
        return int(text.replace(':', ''), 16)
    if ':' in text or '.' in text:
        return int(ipaddress.ip_address(text))
    return int(text, 0)


def covers(wide: Row, narrow: Row) -> bool:
    """Tell whether `wide` surely matches every frame that `narrow` matches."""
    for name, field in wide.fields.items():
        mine = narrow.fields.get(name)
        if isinstance(field, str) or not mine or isinstance(mine, str):
            if mine != field:
                return False
        elif field[1] & ~mine[1] or (field[0] ^ mine[0]) & field[1]:
            return False
    return True


def overlap(one: Row, other: Row) -> bool:
    """Tell whether there may be a frame that both match."""
    for name, field in one.fields.items():
        theirs = other.fields.get(name)
        if theirs and not isinstance(field, str) and not isinstance(theirs, str) and (
                (field[0] ^ theirs[0]) & field[1] & theirs[1]):
            return False
    return True


def effects(rows: Iterable[Row]) -> Dict[Place, str]:
    """Return what each flow does; to hand a frame to a table of drops is to drop it."""
    tables: Dict[int, List[Row]] = {}
    for row in rows:
        tables.setdefault(row.table, []).append(row)
    drops = {'resubmit(,%d)' % table for table, inside in tables.items()
             if all(row.actions == DROP for row in inside)}
    return {row.place: DROP if row.actions in drops else row.actions
            for inside in tables.values() for row in inside}


def proof(row: Row, rows: Iterable[Row], does: Dict[Place, str]) -> str:
    """Return why nobody can tell whether a flow is there; empty if somebody may."""
    others = [other for other in rows if other.table == row.table and other.place != row.place
              and overlap(row, other)]
    if any(other.priority > row.priority and covers(other, row) for other in others):
        return 'hidden'
    if is_hidden_before(row, rows):
        return 'hidden before'
    below = [other for other in others if other.priority <= row.priority]
    for other in sorted(below, key=lambda other: -other.priority):
        if does[other.place] != does[row.place]:
            return ''
        if covers(other, row):
            return 'repeated'
    return 'drops anyway' if does[row.place] == DROP else ''


def is_hidden_before(row: Row, rows: Iterable[Row]) -> bool:
    """Tell whether frames of the port that a flow is for go elsewhere in the tables before.

    A port is what no flow of ours ever changes.
    """
    if 'in_port' not in row.fields:
        return False
    doors = [door for door in rows if 'resubmit(,%d)' % row.table in door.actions]
    for door in doors:
        narrow = door._replace(fields={**door.fields, 'in_port': row.fields['in_port']})
        if not any(other.table == door.table and other.priority > door.priority
                   and covers(other, narrow) for other in rows):
            return False
    return bool(doors)
