"""xenstored dies, and what follows knows nothing: who was proven keeps what it has.

An empty store says of no domain that it is gone. To cut off every VM of the host
would be a lost network for nothing, and nobody has a new right that was not proven.
"""
import signal
import time
from typing import Any, Callable, Iterator

import pytest

from sandbox.process import wait_until
from sandbox.dom0 import Sandbox
from sandbox.wire import XenstoreError

from support.reachability import can_talk, is_cut_off
from support.switch import our_flows, policy_flows, ports
from support.guarded_host import GUARDED, RED, start_vm

from sandbox.daemon import Watch

pytestmark = GUARDED


@pytest.fixture
def vms(host: Sandbox) -> Iterator[Any]:
    """Members, one of another group, and a stranger; nobody can shut them down in the end."""
    yield (start_vm(host, 12, RED), start_vm(host, 13, RED), start_vm(host, 14, {'groups': 'blue'}),
           host.start_vm('bystander', ipv4='10.9.0.99/24', ipv6='fd00:9::99/64'))


def is_as_it_should_be(vms: Any) -> bool:
    one, two, blue, stranger = vms
    return (can_talk(one, two.address()) and can_talk(stranger, '10.9.0.99')
            and is_cut_off(one, blue.address(), stranger.address())
            and is_cut_off(stranger, one.address(), blue.address()))


def test_a_store_that_was_emptied(host: Sandbox, vms: Any, command: Any,
                                  new_watch: Callable[[], Watch]) -> None:
    watch = new_watch().start()
    assert is_as_it_should_be(vms)
    before = policy_flows(host)
    host.xenstored.stop()
    time.sleep(0.7)
    assert policy_flows(host) == before
    host.xenstored.start()
    with pytest.raises((XenstoreError, OSError, Exception)):
        host.store.read('/local/domain/%d/vm' % vms[0].domid)
    time.sleep(1.5)
    # the daemon's own look, and one that SIGHUP asks for
    watch.signal(signal.SIGHUP)
    time.sleep(1.5)
    assert policy_flows(host) == before and not watch.lines('quarantined'), watch.said()
    host.ovs.settle()
    assert is_as_it_should_be(vms)
    # an admin's sync does not remember who was unlocked, so it would close the stranger, who
    # then is no longer one of the bridge's ports without policy
    done = command('sync', '--dry-run')
    changes = [line for line in done.stdout.splitlines() if line[0] in '+-']
    closed = ('+++', '---', vms[3].netdev(), '0000%x,' % (vms[3].domid << 9),
              'cookie=0x5849534f10000000, table=206, priority=100,in_port=', 'f90000000, table=235')
    assert done.returncode == 4 and all(
        any(word in line for word in closed) for line in changes), changes
    # what all share is still put back
    host.ovs.ofctl('-O', 'OpenFlow14', 'del-flows', 'xenbr0',
                   'cookie=0x5849534f00000000/-1')
    assert policy_flows(host) != before
    wait_until(lambda: policy_flows(host) == before, 'the flows of the base', 8)
    # a netdev that goes takes its flows along, whoever it was
    netdev = vms[2].netdev()
    vms[2].cut(0)
    wait_until(lambda: netdev not in ports(host), 'the port to go', 8)
    wait_until(lambda: not any(netdev in flow for flow in our_flows(host)), 'its flows to go', 8)
    # and when the switch has nothing left that was proven, nobody is believed
    host.ovs.kill_vswitchd()
    host.ovs.start_vswitchd()
    watch.wait_for('quarantined', vms[0].netdev(), 'no VM uuid in xenstore')
    host.ovs.settle()
    assert is_cut_off(vms[0], vms[1].address(), vms[3].address())
