"""Sends the corpus and says who has seen which row."""
import time
from collections import Counter
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from sandbox.host import Host
from sandbox.ovs import Ovs
from sandbox.packets import Sniffer
from sandbox.dom0 import Sandbox

from support.packets.rows import UPLINK, Case, mark, marked

BATCH = 400         # frames in the air
STEP_S = 0.01       # after a step, until the switch has seen to what it learned
SETTLE_S = 0.05     # until guests have what has left the switch
LATE_S = 0.01       # ... and have read it
Listener = Tuple[str, Host, str]        # a place, and whose device is looked at there
# By row, by place: which of the row's frames have been seen there.
Sightings = Dict[str, Dict[str, Set[int]]]
GAP_S = 0.0005      # the user-space switch has one thread for frames it has not seen before


class Station(NamedTuple):
    """A place where frames are sent and looked for."""

    name: str
    host: Host
    device: str
    bridge: str
    netdev: str         # the port on the bridge


class Radio:
    """Every station of a world, listening."""

    def __init__(self, dom0: Sandbox, stations: Sequence[Station], wire: Host,
                 locals_: Sequence[Tuple[str, str]], vlan: int) -> None:
        self.dom0 = dom0
        self.stations = {station.name: station for station in stations}
        self._wire = wire
        self._vlan = vlan               # the uplink's tag
        self._locals = locals_          # Dom0's own devices: name of the place, device
        # How often a VM has seen a frame of a row, where that is more than once.
        self.repeats: Set[Tuple[str, str, int, int]] = set()

    def run(self, cases: Sequence[Case], step_s: float = STEP_S) -> Sightings:
        """Send all rows, resting after each step; return who has seen each."""
        seen: Sightings = {case.id: {} for case in cases}
        batch: List[Case] = []
        for case in cases:
            batch.append(case)
            if sum(len(one.frames) + len(one.steps) for one in batch) >= BATCH:
                self._run(batch, seen, step_s)
                batch = []
        self._run(batch, seen, step_s)
        return seen

    def _run(self, batch: Sequence[Case], seen: Sightings, step_s: float) -> None:
        if not batch:
            return
        ears = Ears(self.dom0.ovs, [
            *((name, station.host, station.device) for name, station in self.stations.items()),
            (UPLINK, self._wire, 'uplink')], self._locals)
        marks = self._send(batch, step_s)
        self._attribute(batch, marks, ears.collect(), seen)

    def _send(self, batch: Sequence[Case],
              step_s: float) -> Mapping[bytes, Tuple[str, int]]:
        marks: Dict[bytes, Tuple[str, int]] = {}
        number = 0
        for case in batch:
            for who, frame in case.steps:
                self._emit(who, [frame])
                self.dom0.ovs.drain()
                time.sleep(step_s)
            frames = []
            for index, frame in enumerate(case.frames):
                if not case.quiet:
                    number += 1
                    marks[mark(number)] = case.id, index
                    frame = marked(frame, number)
                frames.append(frame)
            self._emit(case.sender, frames)
        return marks

    def _emit(self, sender: str, frames: Sequence[bytes]) -> None:
        station = self.stations[sender]
        station.host.call('pace', station.device, GAP_S, *frames)

    def _attribute(self, batch: Sequence[Case], marks: Mapping[bytes, Tuple[str, int]],
                   captured: Mapping[str, List[bytes]], seen: Sightings) -> None:
        senders = {case.id: case.sender for case in batch}
        whole = {frame: (case.id, index) for case in batch if case.quiet
                 for index, frame in enumerate(case.frames)}
        for place, frames in captured.items():
            all_found = [whole.get(frame) or find_mark(frame, marks) for frame in frames]
            if place in self.stations and not self._is_outside(place):
                self.repeats |= {(found[0], place, found[1], count) for found, count in Counter(
                    all_found).items() if found and count > 1}
            for found in all_found:
                if not found:
                    continue
                case, index = found
                outside = self._is_outside(place)
                # the LAN's own switch is not what is tried here
                if place != senders[case] and not (
                        outside and self._is_outside(senders[case]) and place != UPLINK):
                    seen[case].setdefault(UPLINK if outside else place, set()).add(index)

    def _is_outside(self, place: str) -> bool:
        """Tell whether frames between this place and Dom0 use the uplink."""
        return place == UPLINK or (place in self.stations
                                   and not self.stations[place].netdev.startswith(('vif', 'tap')))

    def trace(self, sender: str, frame: bytes) -> str:
        """Return ofproto/trace of a frame."""
        station = self.stations[sender]
        if self._vlan and self._is_outside(sender):
            frame = frame[:12] + b'\x81\x00' + self._vlan.to_bytes(2, 'big') + frame[12:]
        return self.dom0.ovs.appctl('ofproto/trace', station.bridge,
                                    'in_port=%d' % self.dom0.ovs.ofport(station.netdev),
                                    frame.hex())


class Ears:
    """Devices of hosts, and of Dom0 itself, that are listened at until `collect`."""

    def __init__(self, ovs: Ovs, listeners: Sequence[Listener],
                 own: Iterable[Tuple[str, str]]) -> None:
        self._ovs, self._listeners = ovs, listeners
        self._own = [(place, Sniffer(device)) for place, device in own]
        self._ask_all('sniff')

    def collect(self) -> Dict[str, List[bytes]]:
        """Return what came to each place, when the switch is done with all that was sent."""
        self._ovs.drain()
        time.sleep(SETTLE_S)
        found = self._ask_all('sniffed', None, LATE_S)
        for place, sniffer in self._own:
            found.setdefault(place, []).extend(sniffer.stop(None, LATE_S))
        return found

    def _ask_all(self, command: str, *args: object) -> Dict[str, List[bytes]]:
        """Have all hosts do something with their devices at once; return what they say."""
        for _, host, device in self._listeners:
            host.post(command, device, *args)
        return {place: list(host.answer() or ()) for place, host, _ in self._listeners}


def find_mark(frame: bytes, marks: Mapping[bytes, Tuple[str, int]]) -> Optional[Tuple[str, int]]:
    """Return the row, and which of its frames, a captured frame is."""
    at = frame.find(b'XSISO')
    return marks.get(frame[at:at + 12]) if at >= 0 else None


def verdict(case: Case, seen: Mapping[str, Set[int]]) -> str:
    """Return what is wrong with who has seen a row's frames, empty if nothing."""
    extra = sorted(set(seen) - set(case.seen_by) - set(case.may))
    return '; '.join(['%s has seen frames %s and must not' % (who, sorted(seen[who]))
                      for who in extra]
                     + ['%s has not seen frames %s' % (who, lost)
                        for who, lost in sorted(misses(case, seen).items())])


def misses(case: Case, seen: Mapping[str, Set[int]]) -> Dict[str, List[int]]:
    """Return which of a row's frames have not been seen where they must, by place."""
    every = set(range(len(case.frames)))
    missing = {who: sorted(every - seen.get(who, set())) for who in case.seen_by}
    return {who: lost for who, lost in missing.items() if lost}
