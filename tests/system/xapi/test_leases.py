"""Leases across hosts: XAPI carries them, members elsewhere know them, a VM migrates with them."""
import json
import os
import time
from typing import Any, Callable, FrozenSet, Iterator, List

import pytest
from sandbox.pool import Pool, PoolVm
from sandbox.poolhost import Daemon, PoolHost
from sandbox.dhcp import ACK, RELEASE, REQUEST, answer, query
from support.xapi_admin import until

from xsisolate.policy.leases import KEYS, find_carried

PATIENCE_S = 20


@pytest.fixture(scope='module')
def pool() -> Iterator[Pool]:
    """A pool of this module's own."""
    with Pool() as pool:
        yield pool


@pytest.fixture(scope='module')
def daemons(pool: Pool) -> Iterator[List[Daemon]]:
    """The daemon on both hosts; they must end well."""
    found = [host.start_daemon() for host in pool.hosts]
    try:
        for host in pool.hosts:
            until(lambda: '"connected": true' in read(host, '/run/xsisolate/pool.json'),
                  'the daemon to follow XAPI', 20)
        yield found
        for daemon in found:
            assert daemon.stop() == 0 and 'Traceback' not in daemon.said(), daemon.said()
    finally:
        for daemon in found:
            print(daemon.said())
            if daemon.process.poll() is None:
                daemon.stop()


def read(host: PoolHost, path: str) -> str:
    """Return the text of a file of the host's, empty if there is none."""
    try:
        with open('/proc/%d/root%s' % (host.pid, path)) as file:
            return file.read()
    except FileNotFoundError:
        return ''


def members(host: PoolHost) -> FrozenSet[str]:
    """Return the addresses of red's members elsewhere."""
    text = read(host, '/run/xsisolate/groups/red.json')
    return frozenset(address for member in (json.loads(text)['members'] if text else [])
                     for address in member['addresses'])


class Lan:
    """The pool with a DHCP server: a machine that each host sees beyond its uplink, or beside."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.servers = [pool.start_vm('srv%d' % at, host, 240 + at)
                        for at, host in enumerate(pool.hosts)]
        self.xid = 0

    def start(self, name: str, host: PoolHost, number: int, *words: str) -> PoolVm:
        """Start a member that owns what it is leased."""
        vm = self.pool.start_vm(name, host, number)
        done = self.pool.hosts[0].run('set', vm.uuid, '--groups', 'red', *(words or (
            '--ipv4', 'dhcp')))
        assert done.returncode == 0, done
        return vm

    def mac(self, vm: PoolVm) -> str:
        """Return a VM's MAC address."""
        return str(self.pool.vif(vm)['MAC'])

    def say(self, vm: PoolVm, frame: bytes) -> None:
        """Have a VM send a frame."""
        host = self.pool.host_of(vm.ref)
        assert host
        host.call('send_frame', vm.uuid, frame)

    def grant(self, vm: PoolVm, address: str) -> None:
        """Have a VM ask for an address, and the server on the other host lease it."""
        self.xid += 1
        self.say(vm, query(REQUEST, self.mac(vm), asked=address, xid=self.xid))
        time.sleep(0.05)
        server = next(one for one in self.servers
                      if self.pool.host_of(one.ref) is not self.pool.host_of(vm.ref))
        self.say(server, answer(ACK, self.mac(vm), address, xid=self.xid, src=self.mac(server),
                                server=server.ipv4))

    def ask_until(self, vm: PoolVm, address: str, true: Callable[[], object], what: str) -> None:
        """Have a VM ask again and again, as clients do: its VIF may have been plugged just now."""
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, 'waited in vain for ' + what
            self.grant(vm, address)
            time.sleep(0.5)

    def carried(self, vm: PoolVm) -> List[str]:
        """Return the addresses that XAPI carries for a VIF."""
        record = find_carried(self.pool.vif(vm)['other_config'], self.mac(vm))
        return sorted(json.loads(self.pool.vif(vm)['other_config'][key])['leases'][0][0]
                      for key in KEYS if record and record.leases
                      and key in self.pool.vif(vm)['other_config'])


@pytest.fixture
def lan(pool: Pool, daemons: Any) -> Lan:
    """The pool with a DHCP server on each host."""
    return Lan(pool)


def talk(pool: Pool, one: PoolVm, other: PoolVm) -> bool:
    """Tell whether two VMs reach each other."""
    return bool(pool.ask(one, 'ping', other.ipv4, 0.5) and pool.ask(other, 'ping', one.ipv4, 0.5))


def test_a_lease_is_known_on_every_host_and_migrates(pool: Pool, lan: Lan,
                                                     daemons: List[Daemon]) -> None:
    """From the server's word to the group's flows elsewhere; to the other host, there and back."""
    web = lan.start('web', pool.hosts[0], 11)
    db = lan.start('db', pool.hosts[1], 12, '--ipv4', '10.9.0.12')
    assert not talk(pool, web, db)
    lan.ask_until(web, web.ipv4, lambda: web.ipv4 in members(pool.hosts[1]),
                  'the lease to be known elsewhere')
    until(lambda: talk(pool, web, db), 'the members to reach each other')
    assert lan.carried(web) == [web.ipv4]
    # a renewal is not written
    before = dict(pool.vif(web)['other_config'])
    lan.grant(web, web.ipv4)
    until(lambda: daemons[0].lines('leased', 'address=' + web.ipv4), 'the lease in the log')
    time.sleep(1)
    assert pool.vif(web)['other_config'] == before
    for host in (pool.hosts[1], pool.hosts[0]):
        pool.migrate(web, host, 1.0)
        assert pool.ask(web, 'ping', db.ipv4, 1.0), 'with its first word at %s: %s' % (
            host.name, [daemon.said() for daemon in daemons])
        assert talk(pool, web, db)
    # a lease that a VIF of another host has
    third = lan.start('third', pool.hosts[1], 13)
    lan.ask_until(third, web.ipv4, lambda: daemons[1].lines('lease refused', 'another host'),
                  'the refusal')
    assert talk(pool, web, db)
    # given back, it is nobody's on any host
    lan.say(web, query(RELEASE, lan.mac(web), ciaddr=web.ipv4, ip_src=web.ipv4))
    until(lambda: web.ipv4 not in members(pool.hosts[1]), 'the lease to end elsewhere', 20)
    until(lambda: not talk(pool, web, db), 'silence')
    assert lan.carried(web) == []
    lan.ask_until(third, third.ipv4, lambda: talk(pool, third, db), 'the third member')
    pool.stop(third)
    pool.start(third, pool.hosts[0])        # a reboot, elsewhere even
    until(lambda: talk(pool, third, db), 'the third member, after a start')


def test_xapi_is_away_while_a_lease_changes(pool: Pool, lan: Lan, daemons: List[Daemon]) -> None:
    """On its own host it counts at once; elsewhere when XAPI is back."""
    web = lan.start('late', pool.hosts[0], 21)
    peer = lan.start('peer', pool.hosts[0], 22, '--ipv4', '10.9.0.22')
    time.sleep(1)
    pool.close_doors(pool.hosts[0].name)
    try:
        lan.ask_until(web, web.ipv4, lambda: talk(pool, web, peer), 'the members of one host')
        until(lambda: daemons[0].lines('leases are not carried'), 'a line about it')
        assert len(daemons[0].lines('leases are not carried')) <= 3
    finally:
        pool.open_doors(pool.hosts[0])
    until(lambda: lan.carried(web) == [web.ipv4], 'the lease to be carried', 20)
    until(lambda: web.ipv4 in members(pool.hosts[1]), 'the lease to be known elsewhere')
    assert os.path.exists('/proc/%d/root/run/xsisolate/leases/%s.0.json' % (
        pool.hosts[0].pid, web.uuid))
