"""A guest that the emulation of `make test-xen` loses is started once more, and no other."""
import time
from typing import Callable, Dict, List, Tuple

import pytest
from xen import guest, pvh
from xen.guest import PATIENCE_S, YOUNG_S, Broken, Done, Guest
from xen.world import World

SAID = '(XEN) d17v0 Triple fault - invoking HVM shutdown action 1\n(XEN) [ 9.1] d%s\n'
FELL = SAID % '7v0 Triple fault - invoking HVM shutdown action 1'


class Store:
    """Remembers what is removed from it."""

    def __init__(self) -> None:
        self.gone: List[str] = []

    def rm(self, path: str) -> None:
        """Remove a key."""
        self.gone.append(path)


class Run(World):
    """As far as one guest needs it."""

    def __init__(self) -> None:
        self.said: List[str] = []
        self.lives: List[Guest] = []
        self.removed = Store()
        self.store = self.removed       # type: ignore[assignment]
        self.failed = self.fallen = self.events = 0

    def say(self, text: str) -> None:
        """Remember a line."""
        self.said.append(text)

    def check(self, what: str, held: bool, why: str = '') -> None:
        """Count."""
        self.failed += not held


Attempt = Callable[[int, str, float], Run]


@pytest.fixture
def attempt(monkeypatch: pytest.MonkeyPatch) -> Attempt:
    """Run the check with a guest that falls so often, that long after its start."""
    def attempt(falls: int, xen_says: str, age: float) -> Run:
        run = Run()
        answers: Dict[Tuple[str, ...], str] = {
            ('xl', 'info', 'virt_caps'): 'hvm hap', ('xl', 'dmesg'): xen_says}

        def join(world: World, red5: Guest) -> None:
            run.lives.append(red5)
            red5.domain = red5.domain._replace(domid=7)
            red5.unpaused = time.monotonic() - age
            if len(run.lives) <= falls:
                raise Broken('red5 answers: not within 60 s')
        for module in (guest, pvh):
            monkeypatch.setattr(module, 'sh', lambda *argv: Done(0, answers.get(argv, '')))
        monkeypatch.setattr(pvh, 'join', join)
        monkeypatch.setattr(pvh, 'in_order', lambda world: None)
        pvh.pvh(run)
        return run
    return attempt


def test_once_more(attempt: Attempt) -> None:
    run = attempt(1, FELL, YOUNG_S)
    assert len(run.lives) == 2 and run.fallen == 1 and not run.failed
    assert run.said[0].startswith('!!!     red5 answers: not within 60 s; Xen says')
    assert '/local/domain/7' in run.removed.gone


def test_none_falls(attempt: Attempt) -> None:
    run = attempt(0, '', 1)
    assert len(run.lives) == 1 and run.fallen == 0 and not run.said


@pytest.mark.parametrize('falls, xen_says, age', [
    (1, SAID % '7v0 EPT violation', 1), (1, '', 1), (1, FELL, YOUNG_S + PATIENCE_S + 1),
    (2, FELL, 1)], ids=['another guest fell', 'it hangs', 'it was old', 'it falls again'])
def test_a_failure(attempt: Attempt, falls: int, xen_says: str, age: float) -> None:
    with pytest.raises(Broken):
        attempt(falls, xen_says, age)
