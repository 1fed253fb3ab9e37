"""The record of a permissive VIF: what has passed, what hooks and enforcing leave of it."""
from typing import Any, Callable, Iterator, List

import pytest
from sandbox.process import wait_until

from support.command import connected, xsisolate
from support.packets import frames as f
from support.refusing_town import CONFIG, FRAMES, Town
from support.vm_events import refresh
from support.watching import has_kept, restart_switch, watching
from xsisolate.diagnostics.refused import RefusedReader, RefusedView
from xsisolate.pipeline.refusals import KINDS_MAX

pytestmark = [pytest.mark.any_python, pytest.mark.host(sealed=True)]


@pytest.fixture(autouse=True)
def permissive(town: Town) -> Iterator[None]:
    """Have red permissive, and as it was again."""
    make_permissive(town)
    try:
        yield
    finally:
        town.restore()


def make_permissive(town: Town, word: str = 'yes') -> None:
    """Write whether red is permissive, and have it refreshed."""
    town.vms['red'].set_policy(dict(town.policies['red'], permissive=word))
    refresh(town.vms['red'])


def read(vm: str = '', only: str = '') -> RefusedView:
    """Return what has been refused."""
    with connected() as dom0:
        return RefusedReader(dom0).read(vm, only=only)


def counts(service: str = 'tcp/443') -> List[Any]:
    """Return of each row of what red asked whether it has passed, and its frames; un answers."""
    return sorted((one.row.refusal.passed, one.row.frames) for one in read('red').rows
                  if one.row.refusal.service == service and not one.row.refusal.answer)


def speak(town: Town) -> None:
    """Have red say what its policy refuses."""
    town.send('red', f.tcp(town.party('red'), town.party('un'), 40000, 443))


def enforce_and_back(town: Town) -> None:
    make_permissive(town, 'no')
    make_permissive(town)


def neighbour_comes_and_goes(town: Town) -> None:
    vm = town.host.start_vm('passer', 'xenbr0', ipv4='10.9.0.88/24', policy={
        'groups': 'red', 'vif/0/ipv4': '10.9.0.88'})
    vm.shutdown()


@pytest.mark.parametrize('happens', [
    lambda town: refresh(town.vms['red']), lambda town: refresh(town.vms['blue']),
    lambda town: xsisolate('sync'), lambda town: town.host.configure(CONFIG + '# the same\n'),
    enforce_and_back, neighbour_comes_and_goes],
    ids=['a refresh', "a neighbour's", 'a sync', 'a configuration', 'enforced and back',
         'a neighbour comes and goes'])
def test_the_record_is_kept(town: Town, happens: Callable[[Town], object]) -> None:
    """What has passed is there before and after, and the same flow counts on."""
    speak(town)
    assert counts() == [(True, FRAMES)]
    happens(town)
    assert counts() == [(True, FRAMES)]
    speak(town)
    assert counts() == [(True, 2 * FRAMES)]
    assert xsisolate('sync', '--dry-run').code == 0


def test_what_has_passed_is_shown_as_such_when_it_is_enforced(town: Town) -> None:
    speak(town)
    make_permissive(town, 'no')
    assert counts() == [(True, FRAMES)]
    speak(town)
    assert counts() == [(False, FRAMES), (True, FRAMES)]
    for option, verdict in (('--permissive', ' passed '), ('--enforced', ' refused ')):
        shown, = [line for line in xsisolate('refused', 'red', option).lines if 'tcp/443  ' in line]
        assert verdict in shown
    assert 'red (%s) lacks' % town.vms['red'].netdev() in xsisolate('suggest', 'red').out


def test_enforce_leaves_the_record(town: Town) -> None:
    """What has passed is shown as such behind the command, which writes the configuration."""
    town.restore()
    town.host.configure(CONFIG.replace('groups:', 'local: true\ngroups:', 1)
                        + '    permissive: true\n')
    try:
        xsisolate('sync')
        speak(town)
        assert 'is written' in xsisolate('enforce', '--all').out
        xsisolate('sync')
        speak(town)
        assert counts() == [(False, FRAMES), (True, FRAMES)]
    finally:
        town.host.configure(CONFIG)
        xsisolate('sync')


def test_a_crash_between_is_told(town: Town) -> None:
    """What the daemon had read is there, as having passed; the rest is lost, and it says when."""
    speak(town)
    with watching():
        wait_until(lambda: has_kept('tcp/443'), 'the record', 30)
        restart_switch(town.host.ovs)
        wait_until(lambda: xsisolate('sync', '--dry-run', code=None).code == 0, 'the flows', 30)
        assert counts() == [(True, FRAMES)]
        speak(town)
        assert counts() == [(True, 2 * FRAMES)]
        make_permissive(town, 'no')
        speak(town)
        assert counts() == [(False, FRAMES), (True, 2 * FRAMES)]


def scan(town: Town, target: str) -> None:
    """Have red send a SYN to more ports than there is room for, and once more behind the mark."""
    red, other = town.party('red'), town.party(target)
    frame = bytes(f.tcp(red, other, 40000, 1))
    for first in (1000, 2000):
        town.vms['red'].send_all(frame[:36] + port.to_bytes(2, 'big') + frame[38:]
                                 for port in range(first, first + 4 * KINDS_MAX))
        town.vms['red'].call('ping', [], 0, 0, '')
        town.host.ovs.settle()


def test_frames_beyond_the_record_have_passed_or_not(town: Town) -> None:
    """The record is one, the marks are two: judged frames, and those that others refuse."""
    scan(town, 'un')
    found = read()
    assert found.beyond == 0 and found.beyond_passed > 3 * KINDS_MAX
    told = xsisolate('refused', '--json').json
    assert (told['frames_beyond_the_record'], told['passed_beyond_the_record']) == (
        0, found.beyond_passed)
    shown = xsisolate('refused').out
    assert '%d frames more passed, of kinds' % found.beyond_passed in shown
    assert 'more refused' not in shown
    scan(town, 'blue')      # which hears none of it
    found = read()
    assert found.beyond > 3 * KINDS_MAX and found.beyond_passed > 10 * KINDS_MAX
    assert 'more passed' not in xsisolate('refused', '--enforced').out
    assert 'more refused' not in xsisolate('refused', '--permissive').out


def test_enforced_it_is_marked_anew(town: Town) -> None:
    """A mark of what has passed does not count what is refused."""
    scan(town, 'un')
    before = read().beyond_passed
    make_permissive(town, 'no')
    scan(town, 'un')
    found = read()
    assert found.beyond_passed == before and found.beyond > 3 * KINDS_MAX
