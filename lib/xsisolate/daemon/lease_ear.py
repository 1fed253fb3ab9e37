"""The thread that takes in the DHCP messages that bridges copy to us, and what it has heard.

A thread, because the switch keeps few of them while the loop compares a bridge. It looks at a
frame's client alone, and forgets what a client says beyond its share: so a flood costs little, and
only its own client. When there is much, the thread rests after each piece.
"""
import os
import select
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

from xsisolate.dom0.ovs.packet_listener import PacketListener
from xsisolate.leases.frame import find_client

BURST, EACH_S = 32.0, 16.0      # messages of a client that are heard at once, and then each second
MANY = 50                       # frames in one piece; then ...
REST_S = 0.01                   # ... nothing is read for so long
WAIT_MS = 1000
RECONNECT_MS = 100
CLIENTS_MAX = 4096              # with a share of their own
HEARD_MAX = 4096

Client = Tuple[str, int, bytes]     # bridge, network, MAC address


class HeardFrame(NamedTuple):
    """A copied frame."""

    client: Client
    frame: bytes


class LeaseEar:
    """Connections to bridges, and a thread that listens to them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._heard: List[HeardFrame] = []
        self._bridges: Tuple[str, ...] = ()
        self._listeners: Dict[str, PacketListener] = {}
        self._shares: Dict[Client, Tuple[float, float]] = {}
        self._waker, self._wake = os.pipe()         # holds a byte while there is something to take
        self._nudged, self._nudge = os.pipe()
        self.dropped = 0                            # messages beyond their clients' shares
        self._failure: Optional[Exception] = None
        Thread(target=self._run, daemon=True).start()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to take."""
        return self._waker

    def follow_bridges(self, names: Iterable[str]) -> None:
        """Listen to these bridges and no others."""
        bridges = tuple(sorted(names))
        if bridges != self._bridges:
            self._bridges = bridges
            os.write(self._nudge, b'.')

    def take(self) -> List[HeardFrame]:
        """Return what was heard since the last time; raise what has ended the thread."""
        if self._failure:
            raise self._failure
        with self._lock:
            heard, self._heard = self._heard, []
            if heard:
                os.read(self._waker, 1)
            return heard

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._listen()
        except Exception as error:      # noqa: B902 - the daemon ends by it, and is started again
            self._failure = error
            os.write(self._wake, b'.')

    def _listen(self) -> None:
        while True:
            for name in self._listeners.keys() - set(self._bridges):
                self._listeners.pop(name).close()
            for name in self._bridges:
                self._listeners.setdefault(name, PacketListener(name))
            away = [one for one in self._listeners.values()
                    if one.fileno() < 0 and not one.connect()]
            if self._wait(RECONNECT_MS if away else WAIT_MS) > MANY:
                sleep(REST_S)

    def _wait(self, timeout: int) -> int:
        """Wait until bridges say something; return how many frames they have sent at most."""
        poller = select.poll()
        poller.register(self._nudged, select.POLLIN)
        listeners = {one.fileno(): one for one in self._listeners.values() if one.fileno() >= 0}
        for number in listeners:
            poller.register(number, select.POLLIN)
        most = 0
        for number, _ in poller.poll(timeout):
            if number == self._nudged:
                os.read(number, 16)
            else:
                most = max(most, self._read(listeners[number]))
        return most

    def _read(self, listener: PacketListener) -> int:
        count = 0
        for network, frame in listener.read():
            count += 1
            client = (listener.bridge, network, find_client(frame))
            if self._has_share(client):
                self._add(HeardFrame(client, frame))
            else:
                self.dropped += 1
        return count

    def _has_share(self, client: Client) -> bool:
        """Tell whether a client may be heard once more now."""
        now = monotonic()
        if client not in self._shares and len(self._shares) >= CLIENTS_MAX:
            self._shares = {one: share for one, share in self._shares.items()
                            if now - share[1] < BURST / EACH_S}
            if len(self._shares) >= CLIENTS_MAX:
                return False
        left, at = self._shares.get(client, (BURST, now))
        left = min(left + (now - at) * EACH_S, BURST)
        self._shares[client] = (max(left - 1, 0.0), now) if left >= 1 else (left, now)
        return left >= 1

    def _add(self, frame: HeardFrame) -> None:
        with self._lock:
            if not self._heard:
                os.write(self._wake, b'.')
            if len(self._heard) < HEARD_MAX:
                self._heard.append(frame)
            else:
                self.dropped += 1
