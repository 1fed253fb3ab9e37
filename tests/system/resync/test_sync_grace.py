"""A sync waits for an admin who is between two writes, and only so long."""
import time
from typing import Any, Callable, List

import pytest

from support.command import DIFFERENT
from sandbox.dom0 import Sandbox

from support.reachability import can_talk, is_cut_off
from support.resync import NOTHING, PAIR_CONFIG, RED, assert_in_sync, state, sync
from xsisolate.dataplane import grace
from xsisolate.dataplane import resync as syncing_bridges

pytestmark = pytest.mark.any_python

SEALED = PAIR_CONFIG.replace('unsealed: accept\n', '')


@pytest.fixture
def host(pair_host: Sandbox) -> Sandbox:
    """Not conftest's: every test has VMs of its own."""
    return pair_host


def during(sync_waits: Callable[[], None]) -> Callable[[float], None]:
    """Return a sleep during which something happens, once."""
    done: List[int] = []

    def sleep(seconds: float) -> None:
        if not done:
            done.append(1)
            sync_waits()
        time.sleep(seconds)
    return sleep


def test_grace(host: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running VIF in doubt is waited for; if it fits again nothing has happened."""
    host.configure(SEALED)
    assert_in_sync(host)
    a, before, good = host.vms[0], state(host), dict(RED, **{'vif/0/ipv4': '10.9.0.11'})
    a.set_vm_data({'xsisolate/groups': 'blue', 'xsisolate/vif/0/ipv4': '10.9.0.11'})
    began = time.monotonic()
    sync('--dry-run', code=DIFFERENT)       # what it would come to; it waits for nobody
    assert time.monotonic() - began < 0.9 and state(host) == before
    other = dict(a.vifs[0].other_config)

    def set_again() -> None:
        assert can_talk(a, '10.9.0.12') and state(host) == before
        a.set_vm_data({'xsisolate/' + key: value for key, value in good.items()})

    monkeypatch.setattr(grace, 'sleep', during(set_again))
    assert sync().out.count(NOTHING) == 2 and state(host) == before
    a.set_vif(other_config={})
    monkeypatch.setattr(grace, 'sleep', during(lambda: None))
    began = time.monotonic()
    said = sync().out
    assert time.monotonic() - began > 1 and '2 VIFs, 1 quarantined' in said
    assert is_cut_off(a, '10.9.0.12')
    began = time.monotonic()
    assert NOTHING in sync().out and time.monotonic() - began < 0.9     # it has no grace now
    a.set_vif(other_config=other)
    sync()
    assert can_talk(a, '10.9.0.12') and state(host) == before


def test_write_begins_after_the_wait(host: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another admin's first write comes too late to be waited for: that VIF keeps what it has."""
    host.configure(SEALED)
    sync()
    (a, b), real, locks = host.vms[:2], syncing_bridges.bridge_lock, []

    def lock(bridge: str, deadline: float) -> Any:
        locks.append(bridge)
        if locks.count('xenbr0') == 2:
            b.set_vm_data({'xsisolate/groups': 'blue'})
        return real(bridge, deadline)

    a.set_vm_data({'xsisolate/groups': 'blue'})
    before = state(host)
    monkeypatch.setattr(syncing_bridges, 'bridge_lock', lock)
    said = sync().out
    assert locks.count('xenbr0') == 2 and '1 VIFs, 1 quarantined' in said, (locks, said)
    assert [flow for flow in before['xenbr0'] if b.vifs[0].mac in flow] == [
        flow for flow in state(host)['xenbr0'] if b.vifs[0].mac in flow]
    monkeypatch.undo()
    assert '2 VIFs, 2 quarantined' in sync().out        # the next one waits, and ends it


def test_nobody_waits_for_the_grace_of_another(host: Sandbox,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """While all VIFs of a bridge are in doubt the rest of it is repaired already."""
    host.configure(SEALED)
    sync()
    (a, b), before, seen = host.vms[:2], state(host), []
    for vm in (a, b):
        vm.set_vm_data({'xsisolate/groups': 'blue'})
    for kind in range(4):       # base, bridge, network, group
        host.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0',
                       'cookie=0x5849534f%d0000000/0xfffffffff0000000' % kind)
    assert state(host) != before
    monkeypatch.setattr(grace, 'sleep', during(lambda: seen.append(state(host) == before)))
    said = sync().out
    assert seen == [True] and '2 VIFs, 2 quarantined' in said, (seen, said)
    assert ' 0 flows added' not in [line for line in said.splitlines() if 'xenbr0' in line][0], said
