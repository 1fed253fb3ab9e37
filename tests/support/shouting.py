"""Guests that shout at each other all the time, and hear what they must not, or what they may."""
import time
from typing import Dict, List, NamedTuple, Sequence, Set, Tuple

from sandbox.flood import Flood, Report, Shout
from sandbox.vm import Vm

from support.reachability import say

RATE = 5000             # frames a second, by all: a door that opens for a moment is noticed
FORBIDDEN, ALLOWED = 'forbidden', 'allowed'


class Heard(NamedTuple):
    """What came of the shouting."""

    sent: Dict[str, int]        # frames by each guest
    forbidden: Report
    allowed: Report
    until: float                # monotonic clock

    @property
    def total(self) -> int:
        """How many frames were sent."""
        return sum(self.sent.values())

    @property
    def last(self) -> float:
        """When something forbidden was heard for the last time, 0 if never."""
        return max((times.last for times in self.forbidden.values()), default=0)

    @property
    def number(self) -> int:
        """How often something forbidden was heard."""
        return sum(times.number for times in self.forbidden.values())

    @property
    def pause(self) -> float:
        """How long one did not hear the other, at the longest; both must have been heard."""
        assert len(self.allowed) == 2, self.allowed
        return max(max(times.pause, self.until - times.last) for times in self.allowed.values())

    def check_all_sent(self) -> None:
        """Fail unless everybody has shouted."""
        assert all(number > 50 for number in self.sent.values()), self.sent

    def check_none_heard(self) -> None:
        """Fail if anybody has heard what he must not, or has not shouted."""
        self.check_all_sent()
        assert not self.forbidden, self.forbidden

    def check_all_heard(self) -> None:
        """Fail unless everybody has heard what he must not: the ears work."""
        assert {echo.receiver for echo in self.forbidden} == set(self.sent), self.forbidden


class Shouting:
    """Guests that shout; each at others and at all."""

    def __init__(self, stranger: Vm, managed: Sequence[Vm]) -> None:
        self._flood = Flood(RATE)
        self._shouts: Dict[str, List[Shout]] = {}
        self._meant: Set[Tuple[str, str, str]] = set()      # receiver, sender, kind
        self._let(FORBIDDEN, stranger, managed)
        for vm in managed:
            self._let(FORBIDDEN, vm, [stranger])

    def talk(self, one: Vm, two: Vm) -> None:
        """Let two members of a group say what they may, beside the rest."""
        self._let(ALLOWED, one, [two])
        self._let(ALLOWED, two, [one])

    def _let(self, kind: str, sender: Vm, receivers: Sequence[Vm]) -> None:
        frames = [say(sender.mac, sender.address())]
        frames += [say(sender.mac, sender.address(), one.mac, one.address()) for one in receivers]
        shouts = self._shouts.setdefault(sender.name, [])
        shouts += [Shout(kind, '', frame) for frame in frames]
        self._meant |= {(one.name, sender.name, kind) for one in receivers}
        self._flood.set(sender.name, sender.pid, 'eth0', shouts)

    def stop(self) -> Heard:
        """Have them stop, and tell; what members of a group say to all is no matter."""
        until, report = time.monotonic(), self._flood.report()
        self.kill()

        def heard(kind: str) -> Report:
            return {echo: times for echo, times in report.items()
                    if echo.kind == kind and echo[:3] in self._meant}

        return Heard(self._flood.sent, heard(FORBIDDEN), heard(ALLOWED), until)

    def kill(self) -> None:
        """End it if it still goes on."""
        self._flood.stop()
