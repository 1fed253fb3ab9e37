"""Open vSwitch itself: restarted, killed, and asked when it has forgotten old verdicts."""
import os
import signal
import subprocess
import time

from typing import List

from xen.forge import attacks
from xen.guest import GO_ON, PATIENCE_S, sh, wait
from xen.world import BRIDGE, World, in_order, reach
from xsisolate.dom0.ovs import flow_table
from xsisolate.dom0.ovs.unixctl import Vswitchd
from xsisolate.openflow.flow import Flow, FlowDiff
from xsisolate.openflow.ownership import REGISTRY

OVS_CTL = ('/usr/share/openvswitch/scripts/ovs-ctl', '--no-monitor',
           '--system-id=dom0')
AFTERWARDS_S = 8
VERDICTS = 10
USERSPACE = 'xenbr2'
STRANGER = 1            # a cookie that is not ours


def planned(world: World) -> None:
    """Open vSwitch is restarted as systemd does it, in the middle of an attack."""
    red1, red2, _, free1 = world.guests
    idle = timed('python3', '-c', 'pass'), timed('xsisolate', 'hold'), timed('xsisolate', 'release')
    world.say('with nothing else to do: the interpreter alone %.1f s, hold %.1f s, release %.1f s'
              % idle)
    frames = attacks(free1, red1, red2)
    free1.load(frames)
    listener = red1.hear(frames)
    wait('red1 listens', lambda: 'LISTENING' in red1.so_far(listener))
    attacker = free1.begin('n=0; while %s; do frames send $(cat /tmp/frames) >/dev/null; '
                           'n=$((n + 1)); done; echo ROUNDS $n' % GO_ON)
    time.sleep(4)
    world.say('under attack: the interpreter alone %.1f s' % timed('python3', '-c', 'pass'))
    for step in (OVS_CTL + ('stop',), ('xsisolate', 'hold'), OVS_CTL + ('start',),
                 ('xsisolate', 'release')):
        began = time.monotonic()
        done = sh(*step, check=False)
        world.check('%s, in %.1f s' % (step[-1], time.monotonic() - began), done.code == 0,
                    done.text)
    in_order(world)
    time.sleep(AFTERWARDS_S)
    free1.stop()
    rounds = int(free1.end(attacker).text.split('ROUNDS')[-1])
    red1.stop()
    heard = red1.end(listener).text
    leaks = [line for line in heard.splitlines()
             if line.startswith('HEARD ') and not line.endswith(' 0')]
    world.packets += rounds * len(frames)
    world.leaks += sum(int(line.split()[-1]) for line in leaks)
    world.check('red1 has heard none of %d forged frames, to %d s after the release' % (
        rounds * len(frames), AFTERWARDS_S),
        not leaks and heard.count('HEARD ') == len(frames), heard)
    reach(world, [('red1', 'red2')])


def timed(*argv: str) -> float:
    """Run a program; return how long it took."""
    began = time.monotonic()
    sh(*argv)
    return time.monotonic() - began


def crash(world: World) -> None:
    """ovs-vswitchd is killed; the daemon mends what the new one lacks."""
    with open('/share/watch', 'w') as output:
        daemon = subprocess.Popen(['xsisolate', 'watch'], stdout=output, stderr=output)
    try:
        time.sleep(8)
        with open('/run/openvswitch/ovs-vswitchd.pid') as file:
            os.kill(int(file.read()), signal.SIGKILL)
        sh(*OVS_CTL, 'start')
        time.sleep(8)       # the emulated machine's; the daemon's own line says what it took
        in_order(world)
        with open('/share/watch') as file:
            said = file.read().strip()
        # It looks at the bridge, or at a VIF, whichever tells it first.
        world.check('the daemon has mended it', 'reconciled' in said or ' added=' in said, said)
        world.say(said.splitlines()[-1])
        reach(world, [('red1', 'red2')])
    finally:
        daemon.terminate()
        daemon.wait()


def verdicts(world: World) -> None:
    """What the kernel has cached is gone when a plug has waited for it; how long that takes."""
    free1 = world.guests[3]
    flow = min((flow for flow in flow_table.read_flows(BRIDGE) if flow.table == REGISTRY), key=str)
    free1.load({'STRANGER': attacks(free1, world.guests[0], free1)['STRANGER']})
    world.say('with nothing else to do: waited %s s' % listed(
        [timed_call(flow) for _ in range(VERDICTS)]))
    world.say('ovs-appctl revalidator/wait alone: %s s' % listed(
        [timed('ovs-appctl', 'revalidator/wait') for _ in range(VERDICTS)]))
    let_through(world, flow)
    # with a second datapath the switch does not know for which it is asked to wait
    sh('ovs-vsctl', 'add-br', USERSPACE, '--', 'set', 'Bridge', USERSPACE, 'datapath_type=netdev')
    refused = sh('ovs-appctl', 'revalidator/wait', check=False)
    world.check('with a user-space datapath besides, the switch does not wait', refused.code != 0,
                refused.text)
    let_through(world, flow)
    sh('ovs-vsctl', 'del-br', USERSPACE)


def let_through(world: World, flow: Flow) -> None:
    """Let a stranger's frames pass, stop that, and look what the kernel would still let pass."""
    red1, _, _, free1 = world.guests
    leak = Flow(0, 65535, 'dl_dst=%s,in_port=%s' % (red1.vif.mac, ofport(free1.device)),
                'output:' + ofport(red1.device), STRANGER)
    attacker = free1.begin('while %s; do frames send $(cat /tmp/frames) >/dev/null; done' % GO_ON)
    left, times = {True: 0, False: 0}, []
    for waits in (True, False) * VERDICTS:
        flow_table.apply_diff(BRIDGE, FlowDiff(add=(leak,)))
        wait('the kernel caches what passes', lambda: in_kernel(free1.device, red1.device), 20)
        flow_table.apply_diff(BRIDGE, FlowDiff(delete=(leak,)))
        if waits:
            times.append(timed_call(flow))
        left[waits] += in_kernel(free1.device, red1.device)
    free1.stop()
    free1.end(attacker)
    world.check('of %d cached verdicts the kernel has none after a wait' % VERDICTS,
                not left[True], '%d are left' % left[True])
    world.say('with a guest that sends without a pause: waited %s s; without a wait %d of %d '
              'verdicts were still there' % (listed(times), left[False], VERDICTS))


def ofport(device: str) -> str:
    """Return a port's OpenFlow number."""
    return sh('ovs-vsctl', 'get', 'Interface', device, 'ofport').text.strip()


def in_kernel(source: str, target: str) -> bool:
    """Tell whether the kernel has cached that frames go from one netdev to another."""
    with Vswitchd(PATIENCE_S) as vswitchd:      # no program to start: that would be a wait, too
        found = vswitchd.tell('dpctl/dump-flows', '--names', 'system@ovs-system')
    return any('in_port(%s)' % source in line and target in line.split('actions:')[-1].split(',')
               for line in found.splitlines())


def timed_call(flow: Flow) -> float:
    """Wait as a plug does; return how long it took."""
    began = time.monotonic()
    flow_table.wait_for_verdicts(BRIDGE, flow)
    return time.monotonic() - began


def listed(times: List[float]) -> str:
    """Return times in order."""
    return ', '.join('%.2f' % seconds for seconds in sorted(times))
