"""Frames from one party to another without a pause, while something else is done."""
from threading import Event, Thread
from time import sleep
from typing import Optional, Type
from types import TracebackType

from xsisolate.errors import HostError
from xsisolate.selftest import frames
from xsisolate.selftest.parties import Party
from xsisolate.selftest.radio import Radio

PAUSE_S = 0.002
PORT = 5000
WORD = b'steady-'


class SteadyStream:
    """Sends while a `with` lasts; afterwards `sent` and `lost` say what became of it."""

    def __init__(self, radio: Radio, source: Party, target: Party) -> None:
        self.sent = self.arrived = 0
        self._radio, self._source, self._target = radio, source, target
        self._stopped = Event()
        self._thread = Thread(target=self._send, daemon=True)

    def __enter__(self) -> 'SteadyStream':
        self._radio.drain()
        self._thread.start()
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._stopped.set()
        self._thread.join()
        seen = {frame[at:at + len(WORD) + 6] for place, frame in self._radio.listen()
                for at in [frame.find(WORD)] if place == self._target.place and at >= 0}
        self.arrived = len(seen)

    @property
    def lost(self) -> int:
        """How many frames did not arrive."""
        return self.sent - self.arrived

    def _send(self) -> None:
        while not self._stopped.is_set():
            frame = frames.framed(self._source.mac, self._target.mac, frames.udp(
                self._source.ipv4, self._target.ipv4, PORT, PORT, WORD + b'%06d' % self.sent))
            self.sent += 1
            try:
                self._radio.send(self._source.name, frame)
            except HostError:
                pass        # its cable is down: the frame is lost
            sleep(PAUSE_S)
