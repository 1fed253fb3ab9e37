"""Hosts of two releases of xsisolate, and of two of XCP-ng's Pythons, side by side.

`make test-upgrade FROM=COMMIT` has that commit as the older release; otherwise it is this one,
under another version's name.
"""
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Iterator, List, Set

import pytest

from sandbox.pool import Pool, PoolVm
from sandbox.poolhost import Daemon, PoolHost
from sandbox.process import run
from sandbox.pythons import for_hooks
from sandbox.hooks import REPOSITORY

from support.xapi_admin import until

pytestmark = pytest.mark.rolling


@pytest.fixture(scope='module')
def older(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a checkout of another release, which says that it is version 0.0.9."""
    checkout = tmp_path_factory.mktemp('older') / 'xsisolate'
    if os.environ.get('UPGRADE_FROM'):
        run(['git', 'clone', '-q', '--no-checkout', REPOSITORY, str(checkout)])
        run(['git', '-C', str(checkout), 'checkout', '-q', os.environ['UPGRADE_FROM']])
    else:
        for name in ('lib', 'hooks', 'rpm'):
            shutil.copytree(os.path.join(REPOSITORY, name), str(checkout / name),
                            ignore=shutil.ignore_patterns('__pycache__'))
    rename(checkout / 'lib' / 'xsisolate' / '__init__.py')
    return str(checkout)


def rename(module: Path) -> None:
    """Have a release call itself 0.0.9."""
    text = module.read_text()
    assert "__version__ = '0.1.0'" in text
    module.write_text(text.replace("__version__ = '0.1.0'", "__version__ = '0.0.9'"))


@pytest.fixture(scope='module')
def pool(older: str) -> Iterator[Pool]:
    """A pool whose hosts have the older release, and Dom0's Python on one of them."""
    with Pool(pythons=(for_hooks(), sys.executable)) as pool:
        for host in pool.hosts:
            host.install(older)
        yield pool


@pytest.fixture
def daemons(pool: Pool) -> Iterator[List[Daemon]]:
    """The daemon on both hosts; a test may start others in their place."""
    found = [host.start_daemon() for host in pool.hosts]
    try:
        for host in pool.hosts:
            follow(host)
        yield found
    finally:
        for daemon in found:
            daemon.stop()


def follow(host: PoolHost) -> None:
    """Wait until a host's daemon has done all that there is to do."""
    path = '/proc/%d/root/run/xsisolate/pool.json' % host.pid
    until(lambda: os.path.exists(path) and json.loads(Path(path).read_text()).get('connected'),
          'the daemon to follow XAPI', 20)
    until(lambda: host.run('sync', '--dry-run').returncode == 0, 'the daemon to have settled', 20)


def join(pool: Pool, name: str, host: PoolHost, number: int, group: str) -> PoolVm:
    """Start a VM on a host, and have the master's command put it into a group."""
    vm = pool.start_vm(name, host, number)
    done = pool.hosts[0].run('set', vm.uuid, '--groups', group, '--ipv4', vm.ipv4, '--ipv6',
                             vm.ipv6)
    assert done.returncode == 0, done
    return vm


def reach(pool: Pool, one: PoolVm, other: PoolVm) -> bool:
    """Tell whether a VM reaches another, in both IP versions."""
    return bool(pool.ask(one, 'ping', other.ipv4, 0.3) and pool.ask(one, 'ping', other.ipv6, 0.3))


def check(pool: Pool, web: PoolVm, db: PoolVm, blue: PoolVm, number: int) -> None:
    """A member comes, on each host, and moves to the other; a stranger reaches nobody."""
    for at, host in enumerate(pool.hosts):
        third = join(pool, 'third%d' % at, host, number + at, 'red')
        for _ in range(2):
            until(lambda: reach(pool, third, web) and reach(pool, third, db), 'the new member')
            assert not any(pool.ask(blue, 'ping', vm.ipv4, 0.2) for vm in (web, db, third))
            assert not any(pool.ask(third, 'ping', address, 0.2)
                           for address in (blue.ipv4, blue.ipv6))
            other, = (one for one in pool.hosts if one is not pool.host_of(third.ref))
            pool.migrate(third, other)
        pool.stop(third)


def odd_hosts(pool: Pool) -> Set[str]:
    """Return the hosts that `pool status` names for their release; one may not even answer."""
    done = pool.hosts[0].run('pool', 'status', '--json')
    findings = json.loads(done.stdout)['findings']
    found = {finding['what'] for finding in findings
             if 'xsisolate 0.0.9' in finding['found'] or 'older xsisolate' in finding['found']}
    assert done.returncode or not found, done
    return found


def test_no_vm_notices_a_rolling_update(pool: Pool, daemons: List[Daemon]) -> None:
    alpha, beta = pool.hosts
    web, db = join(pool, 'web', alpha, 11, 'red'), join(pool, 'db', beta, 12, 'red')
    blue = join(pool, 'blue', beta, 21, 'blue')
    until(lambda: reach(pool, web, db), 'the members to reach each other')
    for at, host in enumerate(pool.hosts):
        alpha.call('start_pings', web.uuid, db.ipv4)
        assert daemons[at].stop() == 0, daemons[at].said()
        host.install(REPOSITORY)
        daemons[at] = host.start_daemon()
        follow(host)
        assert odd_hosts(pool) == ({'host beta'}, set())[at]
        check(pool, web, db, blue, 30 + 10 * at)
        follow(beta)
        sent, lost = alpha.call('stop_pings')
        print('%s has been updated: %d pings sent, %d lost' % (host.name, sent, len(lost)))
        assert sent > 1000
        # an older release may lose some by itself when a member migrates
        assert not lost or 'UPGRADE_FROM' in os.environ and host is alpha, lost
