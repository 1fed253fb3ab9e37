"""Sends rows from their stations, listens everywhere, and says who has seen what."""
from time import monotonic, sleep
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Set, Tuple

from xsisolate.selftest.parties import EVERYBODY
from xsisolate.selftest.rows import (MARK, MARK_LENGTH, NUMBERS, Row, mark, marked,
                                     without_trailer)
from xsisolate.selftest.station import Station

BATCH = 400         # frames in the air
GAP_S = 0.0005      # a user-space switch has one thread for frames that it has not seen before
STEP_S = 0.02       # until what was said before has arrived
QUIET_S = 0.2       # without a frame: all have arrived
LATE_S = 1.5        # after a batch: a switch of a busy host may stand still for a second
PATIENCE_S = 3.0    # frames keep coming: other programs' are none of ours

Sightings = Dict[str, Set[int]]         # by place: which of a row's frames were seen there


class Verdict(NamedTuple):
    """What became of a row."""

    row: Row
    seen: Mapping[str, Sequence[int]]

    @property
    def arrived(self) -> bool:
        """Tell whether all frames were seen where they had to be."""
        return all(len(self.seen.get(place, ())) == len(self.row.frames)
                   for place in self.row.seen_by)

    @property
    def leaks(self) -> List[str]:
        """The places where a frame was seen and must not be."""
        return sorted(set(self.seen) - self.row.seen_by - self.row.may)

    @property
    def wrong(self) -> str:
        """What is not as it should be, empty if nothing."""
        lost = sorted(place for place in self.row.seen_by
                      if len(self.seen.get(place, ())) < len(self.row.frames))
        return '; '.join(['seen by %s, which must not' % ', '.join(self.leaks)] * bool(self.leaks)
                         + ['not seen by %s' % ', '.join(lost)] * bool(lost))


class Radio:
    """All stations, by place."""

    def __init__(self, stations: Mapping[str, Station]) -> None:
        self._stations = stations
        self._number = 0            # of the last mark
        self.repeated = 0           # rows that were sent once more

    def can_play(self, row: Row) -> bool:
        """Tell whether all who speak in a row are here."""
        return all(_place(name) in self._stations
                   for name in [row.sender] + [name for name, _ in row.steps])

    def send(self, name: str, frame: bytes) -> None:
        """Send a frame from where a party is."""
        self._stations[_place(name)].send(frame)

    def play(self, rows: Iterable[Row], step: Callable[[], None] = lambda: None) -> List[Verdict]:
        """Send all rows; return what became of each, in their order.

        A busy host may lose a frame: a row of which nothing was seen where it must not be, and not
        all where it must, is sent once more.
        """
        verdicts: List[Verdict] = []
        batch: List[Row] = []
        for row in rows:
            batch.append(row)
            if sum(len(one.frames) + len(one.steps) for one in batch) >= BATCH:
                verdicts += self._play_again(self._play(batch))
                batch = []
                step()
        return verdicts + self._play_again(self._play(batch))

    def _play_again(self, verdicts: List[Verdict]) -> List[Verdict]:
        lost = [at for at, verdict in enumerate(verdicts)
                if not verdict.arrived and not verdict.leaks]
        self.repeated += len(lost)
        for at, verdict in zip(lost, self._play([verdicts[at].row for at in lost]) if lost else ()):
            verdicts[at] = verdict
        return verdicts

    def _play(self, batch: Sequence[Row]) -> List[Verdict]:
        """Send a batch; return what became of it, later where something has yet to arrive."""
        self.drain()
        marks = self._send_all(batch)
        end = monotonic() + LATE_S
        found: List[Sightings] = [{} for _ in batch]
        while True:
            for place, frame in self.listen():
                known = marks.get(_mark_in(frame)) or marks.get(frame) or marks.get(
                    without_trailer(frame))
                # what comes from the LAN is on the LAN anyway
                if known and place != _place(batch[known[0]].sender):
                    found[known[0]].setdefault(place, set()).add(known[1])
            verdicts = [Verdict(row, {place: sorted(indices) for place, indices in seen.items()})
                        for row, seen in zip(batch, found)]
            if monotonic() > end or all(verdict.arrived for verdict in verdicts):
                return verdicts

    def _send_all(self, batch: Sequence[Row]) -> Dict[bytes, Tuple[int, int]]:
        """Send a batch; return by what each frame is known, as the places of row and frame."""
        marks: Dict[bytes, Tuple[int, int]] = {}
        for at, row in enumerate(batch):
            for name, frame in row.steps:
                self.send(name, frame)
                sleep(STEP_S)
            for index, frame in enumerate(row.frames):
                if row.unmarked:
                    marks[frame] = at, index
                else:
                    plain = without_trailer(frame)
                    # a frame of the batch before may come late, and is none of this one
                    self._number = (self._number + 1) % NUMBERS
                    frame = marked(frame, self._number)
                    marks[mark(self._number)] = at, index
                    if plain:
                        marks.setdefault(plain, (at, index))
                self.send(row.sender, frame)
                sleep(GAP_S)
        return marks

    def drain(self) -> None:
        """Forget what has been heard."""
        for station in self._stations.values():
            station.take()

    def listen(self, quiet: float = QUIET_S) -> List[Tuple[str, bytes]]:
        """Return all that is heard, and where, until nothing more comes."""
        heard: List[Tuple[str, bytes]] = []
        end, last = monotonic() + PATIENCE_S, monotonic()
        while monotonic() < min(end, last + quiet):
            before = len(heard)
            for place, station in self._stations.items():
                heard += [(place, frame) for frame in station.take()]
            if len(heard) > before:
                last = monotonic()
            sleep(0.005)
        return heard


def _place(name: str) -> str:
    """Return where a party's station is."""
    return EVERYBODY[name].place if name in EVERYBODY else name


def _mark_in(frame: bytes) -> bytes:
    at = frame.find(MARK)
    return frame[at:at + MARK_LENGTH] if at >= 0 else b''
