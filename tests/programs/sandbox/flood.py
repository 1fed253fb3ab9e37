"""A flood of marked frames from every guest at once, and who hears them.

One process has a packet socket in each guest's namespace, so that there is one
clock and one list. Every frame ends in a mark, behind what its headers count:
no kernel sends it back in an answer. What may be heard is for the test to say.
"""
import os
import selectors
import signal
import socket
import struct
import time
import traceback
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from sandbox.agent import close_all_but
from sandbox.enter import CLONE_NEWNET, check
from sandbox.packets import BUFFER_BYTES, ETH_P_ALL, PACKET_OUTGOING, SO_RCVBUFFORCE, SOL_PACKET
from sandbox.process import LIBC, LabError, die_with_parent

MARK = b'xsisolate flood '
TRAILER = struct.Struct('=%dsI' % len(MARK))
PACKET_IGNORE_OUTGOING = 23
ANSWER_S = 30
PAUSE_S = 0.004         # between two volleys
READS = 200             # frames taken from a socket before others have their turn


class Shout(NamedTuple):
    """A frame, and what it is: the test's own words."""

    kind: str
    target: str
    frame: bytes


class Echo(NamedTuple):
    """Who heard what of whom."""

    receiver: str
    sender: str
    kind: str
    target: str         # for whom it was meant


class Times(NamedTuple):
    """How often, when (monotonic clock, seconds) first and last, and the longest pause between."""

    number: int
    first: float
    last: float
    pause: float


Report = Dict[Echo, Times]


class Flood:
    """The test's side: who shouts what, and what was heard; `rate` is frames a second, by all."""

    def __init__(self, rate: int = 1500) -> None:
        self._pipe, theirs = Pipe()
        self.sent: Dict[str, int] = {}      # frames by each, between the last two reports
        self.pid = os.fork()
        if self.pid == 0:
            try:
                die_with_parent()
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                close_all_but(2, theirs.fileno())
                Flooder(theirs, rate).run()
            except EOFError:
                pass            # the test is gone
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        theirs.close()

    def set(self, name: str, pid: int, device: str, shouts: Sequence[Shout]) -> None:
        """Have a guest shout these, over and over, and listen at its device."""
        self._call('set', name, pid, device, list(shouts))

    def remove(self, name: str) -> None:
        """Have a guest say and hear nothing any more."""
        self._call('remove', name)

    def report(self) -> Report:
        """Return what was heard since the last report."""
        report, self.sent = self._call('report')
        return dict(report)

    def stop(self) -> None:
        """End it."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._pipe.close()
            self.pid = 0

    def _call(self, command: str, *args: object) -> Any:
        self._pipe.send((command, args))
        if not self._pipe.poll(ANSWER_S):
            raise LabError('the flood does not answer')
        return self._pipe.recv()


class Voice:
    """A guest in the flood."""

    def __init__(self, pid: int, device: str) -> None:
        with open('/proc/%d/ns/net' % pid) as namespace:
            check(LIBC.setns(namespace.fileno(), CLONE_NEWNET), 'setns')
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        try:
            self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        except OSError:
            pass        # Linux before 4.20; they are looked at one by one
        self.socket.bind((device, ETH_P_ALL))
        self.device = device
        self.pid = pid
        self.frames: List[bytes] = []
        self.next = 0


class Flooder:
    """The process that shouts and listens for all."""

    def __init__(self, pipe: 'Connection', rate: int) -> None:
        self._pipe, self._at_once = pipe, max(int(rate * PAUSE_S), 1)
        self._next = 0          # whose turn it is
        self._voices: Dict[str, Voice] = {}
        self._meant: List[Tuple[str, str, str]] = []        # by mark: sender, kind, target
        self._marks: Dict[Tuple[str, str, str], int] = {}
        self._heard: Report = {}
        self._sent: Dict[str, int] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ, '')

    def run(self) -> None:
        """Shout and listen until the test is gone."""
        following = time.monotonic()
        while True:
            left = following - time.monotonic()
            if left <= 0:
                self._shout()
                following = max(following + PAUSE_S, time.monotonic())
                left = 0
            for key, _ in self._selector.select(left):
                if key.data:
                    self._listen(key.data)
                else:
                    self._obey()

    def _obey(self) -> None:
        name, args = self._pipe.recv()
        self._pipe.send(getattr(self, '_' + name)(*args))

    def _set(self, name: str, pid: int, device: str, shouts: List[Shout]) -> None:
        voice = self._voices.get(name)
        if voice is None or (voice.pid, voice.device) != (pid, device):
            self._remove(name)
            voice = self._voices[name] = Voice(pid, device)
            self._selector.register(voice.socket, selectors.EVENT_READ, name)
        voice.frames = [shout.frame + TRAILER.pack(MARK, self._mark(name, shout))
                        for shout in shouts]

    def _mark(self, name: str, shout: Shout) -> int:
        meant = (name, shout.kind, shout.target)
        if meant not in self._marks:
            self._marks[meant] = len(self._meant)
            self._meant.append(meant)
        return self._marks[meant]

    def _remove(self, name: str) -> None:
        voice = self._voices.pop(name, None)
        if voice:
            self._selector.unregister(voice.socket)
            voice.socket.close()

    def _report(self) -> Tuple[List[Tuple[Echo, Times]], Dict[str, int]]:
        for name in list(self._voices):
            while self._listen(name):
                pass
        told = list(self._heard.items()), self._sent
        self._heard, self._sent = {}, {}
        return told

    def _shout(self) -> None:
        voices = list(self._voices.items())
        for _ in range(self._at_once if voices else 0):
            self._next = (self._next + 1) % len(voices)
            name, voice = voices[self._next]
            if not voice.frames:
                continue
            voice.next = (voice.next + 1) % len(voice.frames)
            try:
                voice.socket.send(voice.frames[voice.next])
                self._sent[name] = self._sent.get(name, 0) + 1
            except OSError:
                pass        # its cable is cut, or its link down

    def _listen(self, name: str) -> bool:
        """Take in what a guest hears; True if there may be more."""
        for _ in range(READS if name in self._voices else 0):
            try:
                frame, address = self._voices[name].socket.recvfrom(4096)
            except BlockingIOError:
                return False
            except OSError:
                continue        # the device went down: told once
            mark, number = TRAILER.unpack(frame[-TRAILER.size:]) if len(
                frame) > TRAILER.size else (b'', 0)
            if mark == MARK and address[2] != PACKET_OUTGOING:
                self._note(Echo(name, *self._meant[number]))
        return name in self._voices

    def _note(self, echo: Echo) -> None:
        now = time.monotonic()
        before = self._heard.get(echo, Times(0, now, now, 0))
        self._heard[echo] = Times(before.number + 1, before.first, now,
                                  max(before.pause, now - before.last))
