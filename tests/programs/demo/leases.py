"""Two VMs whose addresses nobody has written down: a DHCP server leases them."""
import time
from typing import TYPE_CHECKING

from sandbox.dhcp import ACK, REQUEST, answer, query
from sandbox.pool import PoolVm

if TYPE_CHECKING:
    from demo.session import Session


def play(session: 'Session') -> None:
    """Have an admin give a policy once; each VM gets its address, and with it its group."""
    pool, (alpha, beta) = session.pool, session.pool.hosts
    one, two = pool.start_vm('green1', alpha, 31), pool.start_vm('green2', beta, 32)
    other, server = pool.start_vm('stranger', alpha, 33), pool.start_vm('dhcpd', beta, 34)
    for vm in (one, two):
        session.admin('set', vm.name, '--groups', 'green', '--ipv4', 'dhcp')
    session.remark('without a lease neither says anything', lambda: not talk(session, one, two))
    for number, vm in enumerate((one, two)):
        exchange(session, vm, server, number)
    session.remark('each has a lease: green1 on alpha and green2 on beta reach each other',
                   lambda: talk(session, one, two))
    session.remark('nobody else reaches them', lambda: not talk(session, other, one)
                   and not talk(session, other, two))
    pool.migrate(two, alpha, 1.0)
    session.remark('green2 migrates to alpha, its lease with it', lambda: talk(session, one, two))
    session.admin('status', 'green1')


def exchange(session: 'Session', vm: PoolVm, server: PoolVm, number: int) -> None:
    """Have a VM ask for an address and the server lease it, in two frames."""
    pool = session.pool
    mac, its = str(pool.vif(vm)['MAC']), str(pool.vif(server)['MAC'])
    host, there = pool.host_of(vm.ref), pool.host_of(server.ref)
    assert host and there
    deadline = time.monotonic() + 10
    while not has_lease(session, vm) and time.monotonic() < deadline:
        host.call('send_frame', vm.uuid, query(REQUEST, mac, asked=vm.ipv4, xid=number + 1))
        time.sleep(0.1)
        there.call('send_frame', server.uuid, answer(
            ACK, mac, vm.ipv4, xid=number + 1, src=its, server=server.ipv4))
        time.sleep(0.3)


def has_lease(session: 'Session', vm: PoolVm) -> bool:
    """Tell whether a VM's host knows of a lease, as a client would when it has one."""
    host = session.pool.host_of(vm.ref)
    assert host
    return 'dhcp until' in host.run('status', vm.uuid).stdout


def talk(session: 'Session', one: PoolVm, other: PoolVm) -> bool:
    """Tell whether two VMs reach each other by IPv4."""
    return bool(session.pool.ask(one, 'ping', other.ipv4, 0.3)
                and session.pool.ask(other, 'ping', one.ipv4, 0.3))
