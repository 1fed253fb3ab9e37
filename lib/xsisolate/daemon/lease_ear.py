"""The thread that takes in the DHCP messages that bridges copy to us, and what it has heard.

A thread, because the switch keeps few of them while the loop compares a bridge. It looks at a
frame's client and transaction alone. A VIF that asks beyond its share is silenced in the switch,
whose copies of it would push out those of others. An answer counts if its client has asked so:
else a guest could use up another's share by what it has servers say to that.
"""
import os
import select
from collections import deque
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Deque, Dict, Iterable, List, NamedTuple, Optional, Tuple

from xsisolate.dataplane.reconcile import silence
from xsisolate.dom0.ovs.packet_listener import PacketListener
from xsisolate.errors import HostError
from xsisolate.leases.bindings import EXCHANGES_MAX
from xsisolate.leases.frame import find_client, format_mac

BURST, EACH_S = 32.0, 16.0      # messages of a client that are heard at once, and then each second
SILENCE_S = 5                   # for which a client is silenced that goes beyond; each time ...
SILENCE_MAX_S = 60              # ... it is for twice as long, until it has been quiet for as long
FAILED_S = 1.0                  # after that the switch is asked again
MANY = 50                       # frames in one piece; then ...
REST_S = 0.003                  # ... nothing is read for so long
WAIT_MS = 1000
RECONNECT_MS = 100
CLIENTS_MAX = 4096              # that are known
HEARD_MAX = 4096

Client = Tuple[str, int, bytes]     # bridge, network, MAC address


class HeardFrame(NamedTuple):
    """A copied frame."""

    client: Client
    frame: bytes


class Share:
    """How much may be heard."""

    def __init__(self) -> None:
        self._left, self._at = BURST, monotonic()

    def take(self) -> bool:
        """Tell whether one more may be heard now."""
        now = monotonic()
        self._left = min(self._left + (now - self._at) * EACH_S, BURST)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Caller:
    """A client that has asked something."""

    def __init__(self) -> None:
        self.asking, self.answered = Share(), Share()
        self.asked: Deque[bytes] = deque(maxlen=EXCHANGES_MAX)      # transactions
        self.silent_until = 0.0
        self._silence = 0

    def next_silence(self) -> int:
        """Return for how many seconds it is to be silenced now, 0 if it is."""
        now = monotonic()
        if now < self.silent_until:
            return 0
        again = now < self.silent_until + self._silence
        self._silence = min(2 * self._silence, SILENCE_MAX_S) if again else SILENCE_S
        self.silent_until = now + self._silence
        return self._silence


class LeaseEar:
    """Connections to bridges, and a thread that listens to them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._heard: List[HeardFrame] = []
        self._silenced: Dict[Client, int] = {}
        self._bridges: Tuple[str, ...] = ()
        self._listeners: Dict[str, PacketListener] = {}
        self._callers: Dict[Client, Caller] = {}
        self._waker, self._wake = os.pipe()         # holds a byte while there is something to take
        self._nudged, self._nudge = os.pipe()
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

    def take_silenced(self) -> Dict[Client, int]:
        """Return which clients were silenced since the last time, and for how many seconds."""
        with self._lock:
            silenced, self._silenced = self._silenced, {}
            return silenced

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
        for network, frame, asks in listener.read():
            count += 1
            mac, transaction = find_client(frame, asks)
            client = (listener.bridge, network, mac)
            if self._hears(client, transaction) if asks else self._expects(client, transaction):
                self._add(HeardFrame(client, frame))
        return count

    def _hears(self, client: Client, transaction: bytes) -> bool:
        """Tell whether a client is heard that asks something; one that asks too much is silenced.

        The switch has seen to it that the client is who it says.
        """
        caller = self._callers.get(client)
        if caller is None:
            while len(self._callers) >= CLIENTS_MAX:
                del self._callers[next(iter(self._callers))]
            caller = self._callers[client] = Caller()
        if not caller.asking.take():
            self._silence(client, caller)
            return False
        if transaction not in caller.asked:
            caller.asked.append(transaction)
        return True

    def _expects(self, client: Client, transaction: bytes) -> bool:
        """Tell whether a client has asked what it is answered, and may be answered once more."""
        caller = self._callers.get(client)
        return caller is not None and transaction in caller.asked and caller.answered.take()

    def _silence(self, client: Client, caller: Caller) -> None:
        seconds = caller.next_silence()
        if not seconds:
            return
        bridge, network, mac = client
        try:
            silence(bridge, network, format_mac(mac), seconds)
        except HostError:
            caller.silent_until = monotonic() + FAILED_S
            return
        with self._lock:
            self._silenced[client] = seconds

    def _add(self, frame: HeardFrame) -> None:
        with self._lock:
            if not self._heard:
                os.write(self._wake, b'.')
            if len(self._heard) < HEARD_MAX:
                self._heard.append(frame)
