"""Refusals of hours, added up from what the switch holds for a minute: pure, and bounded.

The switch's record is read again and again, and each time what has grown is added. So many kinds
are kept for each sender with a policy, and for each receiver of what comes from elsewhere; then the
kind that was seen longest ago goes. When the whole is full, it goes from whoever has most. The sums
of each VIF and reason lose nothing.
"""
from hashlib import sha256
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from xsisolate.errors import HostError
from xsisolate.planner.refusal_record import EGRESS, Marked, Refusal, Seen

VERSION = 2
ROWS_MAX, ALL_ROWS_MAX = 64, 8192
SUMS_MAX = 16384
KEEP_S = 86400.0
BEYOND = 'more kinds than are recorded'
SAME_S = 2.5            # two looks at one flow differ by less in when it began


class Owner(NamedTuple):
    """A VIF with a policy."""

    vif: str                # its name on this host
    vm: str                 # its VM's uuid


class Reading(NamedTuple):
    """What one bridge's switch holds, and whose its ports and MAC addresses are."""

    bridge: str
    seen: Tuple[Seen, ...]
    marked: Tuple[Marked, ...]
    ports: Mapping[int, Owner]
    macs: Mapping[Tuple[int, str], Owner]       # by network and MAC address


class Row(NamedTuple):
    """One kind of refused frames, and how often."""

    bridge: str
    refusal: Refusal
    sender: Optional[Owner]
    receiver: Optional[Owner]
    frames: int
    first: float            # seconds since the epoch
    last: float

    @property
    def owner(self) -> Optional[Owner]:
        """The VIF whose policy refuses them."""
        return self.sender if self.refusal.side == EGRESS else self.receiver

    @property
    def total(self) -> Optional['Sum']:
        """The sum to which its frames belong."""
        owner = self.owner
        return owner and Sum(owner, self.refusal.reason, self.refusal.passed)

    @property
    def keeper(self) -> Tuple[str, ...]:
        """In whose share of the record it is."""
        kept = self.sender or self.receiver
        return ('sender' if self.sender else 'receiver', *(kept or (self.bridge, '')))


class Sum(NamedTuple):
    """Frames of a VIF, refused for one reason; '': more than the record has room for."""

    owner: Owner
    reason: str
    passed: bool = False    # they would be refused, and have passed: the VIF is permissive

    @property
    def shown(self) -> str:
        """The reason in words."""
        return self.reason or BEYOND


Key = Tuple[str, Refusal]
Counting = Tuple[float, int]        # a flow: since when it is there, and what it has counted


class Book:
    """What is kept."""

    def __init__(self) -> None:
        self.since = 0.0                # when it was begun
        self.read = 0.0                 # when the switch was last read
        self.gap: Optional[Tuple[float, float]] = None  # between these the switch lost its record
        self.rows: Dict[Key, Row] = {}
        self.sums: Dict[Sum, int] = {}
        self._switch = ''
        self._flows: Dict[str, Counting] = {}       # as they were read last, by what they match

    def take(self, now: float, switch: str, readings: Iterable[Reading],
             partial: bool = False) -> Dict[Sum, int]:
        """Take in what was read; return by how much each sum has grown.

        `switch` is its process; `partial`: some bridges could not be read.
        """
        if self._switch and switch != self._switch:
            self.gap = (self.read, now)
            self._flows = {}        # however alike, its flows are others
        self.since, self._switch, self.read = self.since or now, switch, now
        grown: Dict[Sum, int] = {}
        flows: Dict[str, Counting] = dict(self._flows) if partial else {}
        for reading in readings:
            for seen in reading.seen:
                key = _digest(reading.bridge, *seen.refusal)
                flows[key] = now - seen.age, seen.packets + 1       # the first has made it
                self._add(now, reading, seen, self._growth(key, flows[key]), grown)
            for marked in reading.marked:
                key = _digest(reading.bridge, *marked[:3], marked.passed)
                flows[key] = now - marked.age, marked.packets
                owner = (reading.ports.get(marked.in_port) if marked.in_port else
                         reading.macs.get((marked.network, marked.target_mac)))
                _grow(grown, owner and Sum(owner, '', marked.passed),
                      self._growth(key, flows[key]))
        self._flows = flows
        for total, count in grown.items():
            self.sums[total] = self.sums.get(total, 0) + count
        self._forget(now)
        return grown

    def _growth(self, key: str, counting: Counting) -> int:
        """Return how many frames a flow has counted since it was read last."""
        born, packets = self._flows.get(key, (0.0, 0))
        goes_on = abs(born - counting[0]) < SAME_S and packets <= counting[1]
        return counting[1] - (packets if goes_on else 0)

    def _add(self, now: float, reading: Reading, seen: Seen, more: int,
             grown: Dict[Sum, int]) -> None:
        refusal, key = seen.refusal, (reading.bridge, seen.refusal)
        known = self.rows.get(key)
        if not more and known:
            return
        row = Row(reading.bridge, refusal, reading.ports.get(refusal.in_port),
                  reading.macs.get((refusal.network, refusal.target_mac)),
                  (known.frames if known else 0) + more,
                  known.first if known else now - seen.age, now - seen.idle)
        self.rows[key] = row
        _grow(grown, row.total, more)

    def _forget(self, now: float) -> None:
        """Keep to the bounds."""
        kept: Dict[Tuple[str, ...], List[Tuple[float, Key]]] = {}
        for key, row in self.rows.items():
            if now - row.last <= KEEP_S:
                kept.setdefault(row.keeper, []).append((row.last, key))
        for rows in kept.values():
            rows.sort(key=_last, reverse=True)
            del rows[ROWS_MAX:]
        share = ROWS_MAX
        while sum(map(len, kept.values())) > ALL_ROWS_MAX and share > 1:
            share //= 2
            for rows in kept.values():
                del rows[share:]
        chosen = {key for rows in kept.values() for _, key in rows}
        self.rows = {key: row for key, row in self.rows.items() if key in chosen}
        if len(self.sums) > SUMS_MAX:       # VIFs come and go
            for total in list(self.sums)[:len(self.sums) - SUMS_MAX]:
                del self.sums[total]

    # --- as JSON has it ------------------------------------------------------------------------

    def describe(self) -> Dict[str, Any]:
        """Return the book as JSON has it."""
        return {'version': VERSION, 'since': self.since, 'read': self.read, 'gap': self.gap,
                'switch': self._switch, 'rows': [[row.bridge, list(row.refusal), row.sender,
                                                  row.receiver, *row[4:]]
                                                 for row in self.rows.values()],
                'sums': [[*total.owner, total.reason, total.passed, count]
                         for total, count in self.sums.items()],
                'flows': [[key, *value] for key, value in self._flows.items()]}


def parse_book(content: Any) -> Book:
    """Return a book from its JSON; raise HostError if another release has written it."""
    if not isinstance(content, dict) or content.get('version') != VERSION:
        raise HostError('the record of refusals is another release\'s: this one reads version %d'
                        % VERSION)
    try:
        book = Book()
        book.since, book.read = float(content['since']), float(content['read'])
        book.gap = (float(content['gap'][0]), float(content['gap'][1])) if content['gap'] else None
        book._switch = str(content['switch'])
        for bridge, refusal, sender, receiver, *counts in content['rows']:
            row = Row(bridge, Refusal(*refusal), sender and Owner(*sender),
                      receiver and Owner(*receiver), *counts)
            book.rows[bridge, row.refusal] = row
        book.sums = {Sum(Owner(vif, vm), reason, bool(passed)): int(count)
                     for vif, vm, reason, passed, count in content['sums']}
        book._flows = {str(key): (float(born), int(packets))
                       for key, born, packets in content['flows']}
        return book
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise HostError('the record of refusals cannot be read: %r' % error) from error


def _digest(*facts: object) -> str:
    """Return a short name for what a flow matches: a full record has 16,000 of them."""
    return sha256(repr(facts).encode('utf-8')).hexdigest()[:16]


def _grow(grown: Dict[Sum, int], total: Optional[Sum], more: int) -> None:
    if total and more:
        grown[total] = grown.get(total, 0) + more


def _last(row: Tuple[float, Key]) -> float:
    return row[0]
