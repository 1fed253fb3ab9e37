"""Runs in Dom0: real guests, real events, real packets; says what held and what did not.

A check that fails does not end the run: the next ones say how far it goes.
"""
import os
import sys
import traceback
from typing import Callable, Sequence, Set, Tuple

from xen.bond import bond
from xen.emulated import emulated
from xen.firing import firing
from xen.forge import attacks
from xen.guest import HOOKS, Broken, flows, hear, sh, wait
from xen.lan import Lan
from xen.lifecycle import refresh, replug, restart, rewrite
from xen.migration import migration
from xen.pvh import pvh
from xen.switch import crash, planned, verdicts
from xen.tracking import tracking
from xen.traffic import answer, forge, speak
from xen.uplink import uplink
from xen.vlan import vlan
from xen.world import BRIDGE, NETWORK, World, in_order, listen, reach
from xsisolate.hooks.client import SOCKET

HOOK_CALL = '/usr/share/xsisolate/current/lib/xsisolate/hooks/call.py'
SELFTEST_S = 900.0       # half a minute on a real machine
CONFIG = '''\
version: 1
networks:
  '*':
    subnets: [10.99.0.0/24, "fd99::/64"]
    gateways:
      - {ipv4: 10.99.0.254, ipv6: "fd99::fe", mac: "02:00:00:00:ff:fe"}
groups:
  red:
    rules: [tcp/7, icmp, icmp6, udp/4444]
'''


def main() -> int:
    """Run all checks, in an order that tells a story; or those between the first and last two."""
    story: Sequence[Callable[[World], None]] = (
        speak, forge, answer, tracking, uplink, bond, vlan, pvh, emulated, migration, refresh,
        rewrite, replug, firing, verdicts, planned, crash, restart, selftest)
    only = list(filter(None, os.environ.get('ONLY', '').split(',')))
    unknown = set(only) - {part.__name__ for part in story}
    if unknown:
        print('no such checks: ' + ', '.join(sorted(unknown)), flush=True)
        return 2
    world = World()
    try:
        for part in (prepare, boot_guests, *[part for part in story if not only
                                             or part.__name__ in only], sabotage, end):
            world.say('-- ' + (part.__doc__ or '').strip())
            part(world)
    except Exception:
        world.check('the run goes on to its end', False, traceback.format_exc())
    world.say('%d guests booted, %d of them once more after a triple fault; %d events fired, '
              '%d packets tried, %d leaks; %d checks passed, %d failed' % (
                  world.booted, world.fallen, world.events, world.packets, world.leaks,
                  world.passed, world.failed))
    if not world.failed:
        print('ALL PASSED', flush=True)
    return 1 if world.failed else 0


def prepare(world: World) -> None:
    """A bridge on the kernel's datapath."""
    with open('/etc/xsisolate/xsisolate.yaml', 'w') as file:
        file.write(CONFIG)
    sh('ovs-vsctl', 'add-br', BRIDGE)
    sh('ovs-vsctl', 'br-set-external-id', BRIDGE, 'xs-network-uuids', NETWORK)
    sh('ip', 'link', 'set', BRIDGE, 'up')
    world.lan = Lan(BRIDGE)
    world.bare = flows(BRIDGE)
    world.say('%s, Linux %s, Xen %s, %s' % (
        sh('python3', '-V').text.strip(), os.uname().release,
        sh('xl', 'info', 'xen_version').text.strip(),
        sh('ovs-vswitchd', '--version').text.splitlines()[0]))
    wait('the hooks\' server', lambda: os.path.exists(SOCKET))
    world.check('it runs what a hook is called for', is_served())
    world.check('the datapath is the kernel\'s', 'system@' in sh('ovs-appctl', 'dpif/show').text)


def is_served() -> bool:
    """Tell whether a hook's call ends well although the hook itself could not run it."""
    os.rename(HOOK_CALL, HOOK_CALL + '.away')
    try:
        return 'usage' in sh(HOOKS + '/vif', check=False).text
    finally:
        os.rename(HOOK_CALL + '.away', HOOK_CALL)


def boot_guests(world: World) -> None:
    """Two guests of red, one of blue, one that is nobody's; udev alone fires the hooks."""
    for number, (name, policy) in enumerate((
            ('red1', {'groups': 'red', 'allow': 'udp/4444@10.99.0.1 udp/4444@10.99.0.98'}),
            ('red2', {'groups': 'red'}), ('blue1', {'groups': 'blue', 'allow': 'external'}),
            ('free1', {})), 11):
        world.guest(name, number, policy)
    in_order(world)


def selftest(world: World) -> None:
    """The self-test, as an admin runs it while VMs run."""
    found = sh('xsisolate', 'selftest', check=False, timeout=SELFTEST_S)
    world.check('everything is as it should be', found.code == 0, found.text)
    in_order(world)


def sabotage(world: World) -> None:
    """Without the flows everybody hears everybody: silence was their doing, not the tools'."""
    red1, red2, blue1, _ = world.guests
    sh('ovs-ofctl', 'del-flows', BRIDGE)
    sh('ovs-ofctl', 'add-flow', BRIDGE, 'priority=0,actions=NORMAL')
    for guest in world.guests:
        sh('ovs-ofctl', 'mod-port', BRIDGE, guest.device, 'flood')
    deaf = find_deaf(world)
    if deaf:        # a first ping may be lost while neighbours look for each other
        deaf &= find_deaf(world)
    world.check('every ping is heard', not deaf, str(sorted(deaf)))
    frames = attacks(blue1, red1, red2)
    heard = listen(world, red1, blue1, frames)
    lost = sorted(word for word in frames if not heard.get(word))
    world.check('every forged frame is heard', not lost, ', '.join(lost))
    sh('xsisolate', 'sync')
    for guest in world.guests:      # they have believed the forged ARP
        guest.run('ip neigh flush dev eth0')
    reach(world, [('red1', 'red2')])


def find_deaf(world: World) -> Set[Tuple[str, str]]:
    """Return who has pinged whom in vain, in one family at least."""
    return {(name, other) for name, others in hear(world.guests, 5).items()
            for other, versions in others.items() if not all(versions.values())}


def end(world: World) -> None:
    """All guests end; nothing stays."""
    for guest in world.guests:
        guest.destroy()
        world.events += 1
    try:
        wait('all flows go', lambda: flows(BRIDGE) == world.bare, 20)
    except Broken:
        pass        # the check says what is left
    left = sorted(set(flows(BRIDGE)) ^ set(world.bare))
    world.check('the bridge has the flows it had before', not left, '\n'.join(left[:10]))
    with open('/tmp/syslog') as file:
        odd = [line.strip() for line in file if 'internal:' in line or 'Traceback' in line]
    world.check('no hook has found a mistake of its own', not odd, '; '.join(odd))


if __name__ == '__main__':
    sys.exit(main())
