"""Two VMs that a tool makes of one template; nobody writes an address or a policy for them."""
import time
from typing import TYPE_CHECKING

from sandbox.dhcp import ACK, REQUEST, answer, query
from sandbox.pool import PoolVm
from sandbox.poolhost import PoolHost

if TYPE_CHECKING:
    from demo.session import Session

PATIENCE_S = 10


def play(session: 'Session') -> None:
    """Give a template a policy once; what is made of it gets its addresses and is in its group."""
    pool, (alpha, beta) = session.pool, session.pool.hosts
    template = pool.add_vm('debian', 30)
    call(session, 'VM.set_is_a_template', template.ref, True)
    session.admin('set', 'debian', '--template', '--portable', '--groups', 'green', '--ipv4',
                  'dhcp')
    one, two = make(session, template, 'app1', alpha, 31), make(session, template, 'app2', beta, 32)
    other, server = pool.start_vm('stranger', alpha, 33), pool.start_vm('dhcpd', beta, 34)
    session.admin('set', 'dhcpd', '--mode', 'locked', '--roles', 'dhcp', '--ipv4', server.ipv4)
    session.remark('app1 and app2 are made of debian; without a lease neither says anything',
                   lambda: not talk(session, one, two))
    for number, vm in enumerate((one, two), 1):
        lease(session, vm, server, number)
    session.remark('each has a lease: app1 on alpha and app2 on beta reach each other',
                   lambda: talk(session, one, two))
    session.remark('no other VM reaches them', lambda: not talk(session, other, one)
                   and not talk(session, other, two))
    pool.migrate(two, alpha, 1.0)
    session.remark('app2 migrates to alpha, its lease with it', lambda: talk(session, one, two))
    session.settle()
    session.admin('status', 'app1')


def call(session: 'Session', method: str, *args: object) -> str:
    """Send XAPI what a tool sends that makes VMs."""
    database = session.pool.db
    return str(database.answer(method, [database.open_session('vm-admin'), *args]))


def make(session: 'Session', template: PoolVm, name: str, host: PoolHost, number: int) -> PoolVm:
    """Make a VM of a template, and start it."""
    ref = call(session, 'VM.clone', template.ref, name)
    call(session, 'VM.provision', ref)
    vm = session.pool.adopt(ref, number)
    session.pool.start(vm, host)
    return vm


def lease(session: 'Session', vm: PoolVm, server: PoolVm, number: int) -> None:
    """Have a VM ask for an address and the server lease it, in two frames."""
    pool = session.pool
    mac, its = str(pool.vif(vm)['MAC']), str(pool.vif(server)['MAC'])
    host, there = pool.host_of(vm.ref), pool.host_of(server.ref)
    assert host and there
    deadline = time.monotonic() + PATIENCE_S
    while not has_lease(host, vm) and time.monotonic() < deadline:
        host.call('send_frame', vm.uuid, query(REQUEST, mac, asked=vm.ipv4, xid=number))
        time.sleep(0.1)
        there.call('send_frame', server.uuid, answer(
            ACK, mac, vm.ipv4, xid=number, src=its, server=server.ipv4))
        time.sleep(0.3)


def has_lease(host: PoolHost, vm: PoolVm) -> bool:
    """Tell whether a VM's host knows of a lease, as a client would when it has one."""
    return 'dhcp until' in host.run('status', vm.uuid).stdout


def talk(session: 'Session', one: PoolVm, other: PoolVm) -> bool:
    """Tell whether two VMs reach each other by IPv4."""
    return bool(session.pool.ask(one, 'ping', other.ipv4, 0.3)
                and session.pool.ask(other, 'ping', one.ipv4, 0.3))
