"""The world's radio for thousands of short turns: every socket stays open.

To close a packet socket takes the kernel 15 ms, and the radio opens one for each
frame. How long to listen is found out by listening.
"""
import os
import select
import socket
import time
from contextlib import contextmanager
from enum import Enum
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import ovs.unixctl.client
from sandbox.agent import CLONE_NEWNET
from sandbox.enter import check
from sandbox.packets import Sniffer
from sandbox.process import LIBC

from support.packets.rows import UPLINK, Case
from support.packets.frames import arp
from support.packets.radio import Radio, Sightings, Station
from support.packets.shared_network import World

QUIET_S, LONGEST_S = 0.08, 0.6      # the air is clear when nothing has come for so long
GREETING_S = 0.03
TAGGED = b'\x81\x00'
RUN = '/run/openvswitch/ovs-vswitchd.'


class Mode(Enum):
    """What the switch knows of where everybody lives when a row is sent."""

    GREETED = 0         # all of it
    FORGETFUL = 1       # nothing
    FOREIGN = 2         # what the row's steps teach it, and foreign flows want it to know


class Ear(Sniffer):
    """A sniffer that goes on listening."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return what to poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def heard(self) -> List[bytes]:
        """Return what has arrived since the last time."""
        try:
            while True:
                self._collect()
        except BlockingIOError:
            frames, self._frames = self._frames, []
            return frames


class Here(NamedTuple):
    """Dom0 as a machine that sends."""

    pid: int = os.getpid()


@contextmanager
def inside(host: Any) -> Iterator[None]:
    """Be in a machine's network namespace: what is opened there stays there."""
    with open('/proc/thread-self/ns/net') as home, open('/proc/%d/ns/net' % host.pid) as there:
        check(LIBC.setns(there.fileno(), CLONE_NEWNET), 'setns')
        try:
            yield
        finally:
            check(LIBC.setns(home.fileno(), CLONE_NEWNET), 'setns')


class OpenRadio(Radio):
    """The world's radio, with stations more: some speak only."""

    def __init__(self, world: World, more: Sequence[Station], silent: Sequence[Station]) -> None:
        radio = world.radio
        super().__init__(world.dom0, [*radio.stations.values(), *more, *silent], radio._wire,
                         radio._locals, 0)
        self._mouths: Dict[str, socket.socket] = {}
        self._ears: List[Tuple[str, Ear]] = [(place, Ear(device)) for place, device in self._locals]
        self._bridge = world.bridge
        self._switch = connect()
        self.mode = Mode.GREETED
        for station in self.stations.values():
            with inside(station.host):
                self._mouths[station.name] = mouth = socket.socket(
                    socket.AF_PACKET, socket.SOCK_RAW, 0)
                mouth.bind((station.device, 0))
                if station not in silent:
                    self._ears.append((station.name, Ear(station.device)))
        with inside(self._wire):
            self._ears.append((UPLINK, Ear('uplink')))
        self._poll = select.poll()
        for _, ear in self._ears:
            self._poll.register(ear, select.POLLIN)
        self._greetings = [(name, bytes(arp(who, 1, who.ip, who.ip)))
                           for name, who in world.who.items()
                           if name in self.stations and name not in ('red3', 'quar', 'off')]

    def close(self) -> None:
        """Close every socket."""
        for mouth in self._mouths.values():
            mouth.close()
        for _, ear in self._ears:
            ear.close()
        self._switch.close()

    def appctl(self, *words: str) -> str:
        """Run a command of the switch's, without a process for it."""
        error, refusal, answer = self._switch.transact(words[0], list(words[1:]))
        assert not error and not refusal, (words, error, refusal)
        return str(answer)

    def _emit(self, sender: str, frame: bytes) -> None:
        if self.mode == Mode.FORGETFUL:
            self.appctl('fdb/flush', self._bridge)
        self._mouths[sender].send(frame)

    def _listen(self, captured: Dict[str, List[bytes]]) -> None:
        """Collect until the air is clear."""
        deadline = time.monotonic() + LONGEST_S
        while self._poll.poll(QUIET_S * 1000) and time.monotonic() < deadline:
            time.sleep(QUIET_S / 4)
            for place, ear in self._ears:
                captured.setdefault(place, []).extend(ear.heard())

    def _run(self, batch: Sequence[Case], seen: Sightings) -> None:
        if not batch:
            return
        # who lives where: frames may have told the switch otherwise
        self.appctl('fdb/flush', self._bridge)
        self.appctl('dpctl/flush-conntrack')
        for sender, frame in self._greetings if self.mode == Mode.GREETED else ():
            self._emit(sender, frame)
        time.sleep(GREETING_S)
        for _, ear in self._ears:
            ear.heard()
        captured: Dict[str, List[bytes]] = {}
        marks = self._send(batch)
        self._listen(captured)
        self._attribute(batch, marks, by_tag(batch, captured), seen)


def by_tag(batch: Sequence[Case], captured: Dict[str, List[bytes]]) -> Dict[str, List[bytes]]:
    """Return frames by place; tagged ones, where none were sent, are in another place."""
    if any(frame[12:14] == TAGGED for case in batch for frame in case.frames):
        return captured
    found: Dict[str, List[bytes]] = {}
    for place, frames in captured.items():
        for frame in frames:
            where = place + ', tagged' if frame[12:14] == TAGGED else place
            found.setdefault(where, []).append(frame)
    return found


def connect() -> Any:
    """Return a connection to the switch that takes the commands of ovs-appctl."""
    with open(RUN + 'pid') as file:
        path = RUN + '%d.ctl' % int(file.read())
    error, client = ovs.unixctl.client.UnixctlClient.create(path)
    assert not error, os.strerror(error)
    return client
