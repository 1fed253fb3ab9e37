"""From the package of an older commit to this one's and back, while guests shout at each other.

`make test-upgrade FROM=COMMIT` runs this; it is not part of `make test`.
"""
import os
from typing import Iterator, List

import pytest

from sandbox.vm import Vm

from support.installed_dom0 import OURS, Dom0, start_vm
from support.package_root import PACKAGES
from support.shouting import Heard, Shouting

pytestmark = pytest.mark.upgrade
OLD, NEW = (os.path.join(PACKAGES, 'xsisolate-0.1.0-%d.noarch.rpm' % release) for release in (0, 1))
PAUSE_MAX_S = 2.0       # a refresh may turn cached verdicts away for a moment


@pytest.fixture
def shouting(dom0: Dom0) -> Iterator[List[Heard]]:
    """Two members of a group talk, and are shouted at, while a test runs; says what came of it."""
    red1, red2, blue, _ = dom0.host.vms[:4]
    shouting, heard = Shouting(blue, [red1, red2]), []      # type: ignore[var-annotated]
    shouting.talk(red1, red2)
    try:
        yield heard
        heard.append(shouting.stop())
    finally:
        shouting.kill()
    heard[0].check_none_heard()
    assert heard[0].pause < PAUSE_MAX_S
    print('%d frames, none forbidden was heard; members did not hear each other for %.2f s at most'
          % (heard[0].total, heard[0].pause))


def refresh(vm: Vm) -> None:
    """Have xenopsd run setup-vif-rules, as for VIF.set_locking_mode."""
    vm.set_locking(vm.vifs[0].locking_mode)


def check_hooks(dom0: Dom0) -> None:
    """VIFs come, are refreshed, and go, by the installed hooks."""
    vm = start_vm(dom0.host, 15, 'red', hvm=True)
    assert vm.ping('10.9.0.11') and not vm.ping('10.9.0.21', 0.4)
    refresh(vm)
    vm.shutdown()
    refresh(dom0.host.vms[0])


def test_the_old_release_isolates(dom0: Dom0) -> None:
    dom0.rpm('-i', OLD)
    dom0.xsisolate('activate')
    dom0.restart_toolstack()
    assert dom0.answering().keys == (OURS,)
    check_hooks(dom0)


@pytest.mark.parametrize('package', [NEW, OLD, NEW], ids=['upgrade', 'downgrade', 'again'])
def test_nothing_passes_while_the_release_changes(dom0: Dom0, shouting: List[Heard],
                                                  package: str) -> None:
    dom0.rpm('-U', '--oldpackage', package)
    vm = start_vm(dom0.host, 16, 'red')     # beside flows of the other release
    refresh(dom0.host.vms[0])
    dom0.xsisolate('sync')                  # what the daemon does when it is started again
    assert vm.ping('10.9.0.11')
    vm.shutdown()
    check_hooks(dom0)
    dom0.xsisolate('sync', '--dry-run')     # exit code 4 if anything were left to do
