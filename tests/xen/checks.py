"""Runs in Dom0: real guests, real events, real packets; says what held and what did not.

A check that fails does not end the run: the next ones say how far it goes.
"""
import os
import signal
import subprocess
import sys
import time
import traceback

from xen.forge import attacks, spoofs, udp4
from xen.guest import Broken, Guest, flows, hear, ports, sh, wait
from xen.world import (BRIDGE, NETWORK, World, call_rules, in_order, is_running, listen, load,
                       reach)

DOM0 = '10.99.0.1/24'
CONFIG = '''\
version: 1
groups:
  red:
    rules: [tcp/7, icmp, icmp6, udp/4444]
'''
RESTARTS = int(os.environ.get('RESTARTS', '20'))
BOTH = '/etc/xen/scripts/vif-both'
OVS_CTL = ('/usr/share/openvswitch/scripts/ovs-ctl', '--no-monitor',
           '--system-id=dom0')


def main() -> int:
    """Run all checks, in an order that tells a story."""
    world = World()
    try:
        for part in (prepare, boot_guests, speak, forge, answer, refresh, rewrite, replug,
                     planned, crash, both, restart, sabotage, end):
            world.say('-- ' + (part.__doc__ or '').strip())
            part(world)
    except Exception:
        world.check('the run goes on to its end', False, traceback.format_exc())
    world.say('%d guests booted, %d events fired, %d packets tried, %d leaks; %d checks passed, '
              '%d failed' % (world.booted, world.events, world.packets, world.leaks, world.passed,
                             world.failed))
    if not world.failed:
        print('ALL PASSED', flush=True)
    return 1 if world.failed else 0


def prepare(world: World) -> None:
    """A bridge on the kernel's datapath."""
    with open('/etc/xsisolate/xsisolate.yaml', 'w') as file:
        file.write(CONFIG)
    with open(BOTH, 'w') as file:       # as libxl would call the hook: `online type_if=vif`
        file.write('#!/bin/sh\nexec /usr/libexec/xsisolate/vif "$@"\n')
    os.chmod(BOTH, 0o755)
    sh('ovs-vsctl', 'add-br', BRIDGE)
    sh('ovs-vsctl', 'br-set-external-id', BRIDGE, 'xs-network-uuids', NETWORK)
    sh('ip', 'link', 'set', BRIDGE, 'up')
    world.bare = flows(BRIDGE)
    world.say('%s, Linux %s, Xen %s, %s' % (
        sh('python3', '-V').text.strip(), os.uname().release,
        sh('xl', 'info', 'xen_version').text.strip(),
        sh('ovs-vswitchd', '--version').text.splitlines()[0]))
    world.check('the datapath is the kernel\'s', 'system@' in sh('ovs-appctl', 'dpif/show').text)


def boot_guests(world: World) -> None:
    """Two guests of red, one of blue, one that is nobody's; udev alone fires the hooks."""
    for number, (name, group) in enumerate((('red1', 'red'), ('red2', 'red'), ('blue1', 'blue'),
                                            ('free1', '')), 11):
        world.guest(name, number, {'groups': group} if group else {})
    in_order(world)


def speak(world: World) -> None:
    """Pings and TCP between members, and with everybody else."""
    red1, red2, blue1, free1 = world.guests
    reach(world, [('red1', 'red2')])
    red2.run('nc -ll -p 8 -e /bin/cat >/dev/null 2>&1 &')
    world.check('red2 has a server that red\'s rules do not name', says(red2, '127.0.0.1', 8))
    for source, target, port, should in (
            (red1, red2, 7, True), (red2, red1, 7, True), (red1, red2, 8, False),
            (red1, blue1, 7, False), (blue1, red1, 7, False), (free1, red1, 7, False)):
        for address in (target.ipv4, target.ipv6):
            heard = says(source, address, port)
            world.packets += 1
            world.leaks += heard and not should
            world.check('TCP from %s to %s, %s port %d: %s' % (
                source.name, target.name, address, port, 'yes' if should else 'no'),
                heard is should)
    sh('ip', 'addr', 'add', DOM0, 'dev', BRIDGE)        # its packets come tracked already
    for guest, should in ((free1, True), (red1, False)):
        heard = sh('ping', '-c', '2', '-W', '3', guest.ipv4, check=False).code == 0
        world.check('Dom0 pings %s: %s' % (guest.name, 'yes' if should else 'no'), heard is should)


def says(source: Guest, address: str, port: int) -> bool:
    """Tell whether a TCP server echoes what a guest says to it."""
    return 'WORD' in source.run('(echo WORD; sleep 2) | nc -w 2 %s %d & sleep 3; kill $!'
                                % (address, port)).text


def answer(world: World) -> None:
    """A UDP service: conntrack of the kernel's datapath knows what was asked."""
    red1, red2 = world.guests[:2]
    ask = {'QUESTION': udp4(red2.vif.mac, red1.vif.mac, red2.ipv4, red1.ipv4, 'QUESTION', 5555)}
    world.check('red1 hears a question', bool(listen(world, red1, red2, ask)['QUESTION']))
    followed = sh('ovs-appctl', 'dpctl/dump-conntrack').text
    world.check('conntrack knows it', 'dport=4444' in followed, followed or 'it is empty')
    replies = {word: udp4(red1.vif.mac, red2.vif.mac, red1.ipv4, red2.ipv4, word, 4444, port)
               for word, port in (('ANSWERED', 5555), ('UNASKED4', 5556))}
    heard = listen(world, red2, red1, replies)
    world.check('red2 hears the answer', bool(heard['ANSWERED']))
    world.leaks += bool(heard['UNASKED4'])
    world.check('red2 does not hear an answer to nothing', not heard['UNASKED4'])


def forge(world: World) -> None:
    """Frames that root of a guest makes by hand."""
    red1, red2, blue1, free1 = world.guests
    for by, on, frames in ((blue1, red1, attacks(blue1, red1, red2)),
                           (free1, red1, attacks(free1, red1, red2)),
                           (red2, blue1, attacks(red2, blue1, free1)),
                           (red2, red1, spoofs(red2, red1, blue1))):
        heard = listen(world, on, by, frames)
        leaks = sorted(word for word in frames if heard.get(word))
        world.leaks += len(leaks)
        world.check('%s hears none of %d forged frames of %s' % (on.name, len(frames), by.name),
                    not leaks, ', '.join(leaks))
    honest = {'HONESTLY': udp4(red2.vif.mac, red1.vif.mac, red2.ipv4, red1.ipv4, 'HONESTLY')}
    world.check('red1 hears an honest frame of red2',
                bool(listen(world, red1, red2, honest)['HONESTLY']))


def refresh(world: World) -> None:
    """A refresh as xenopsd calls it changes nothing."""
    guest, before = world.guests[0], flows(BRIDGE)
    done = call_rules(world, guest)
    world.check('setup-vif-rules filter of %s' % guest.name, done.code == 0, done.text)
    world.check('the flows are the same', flows(BRIDGE) == before)


def rewrite(world: World) -> None:
    """A guest's root rewrites its vm-data, to belong to red, and reboots."""
    blue1 = world.guests[2]
    key = 'vm-data/xsisolate/groups'
    said = blue1.run('xenstore-write %s red && xenstore-read %s' % (key, key))
    world.check('it can write that', said.text.strip() == 'red', said.text)
    written = world.store.get('/local/domain/%d/%s' % (blue1.domain.domid, key))
    began = time.monotonic()
    blue1.begin('reboot -f')
    wait('%s has ended' % blue1.name, lambda: not is_running(blue1))
    world.events += 1
    world.check('%s rebooted: its port is gone' % blue1.name, bool(blue1.bury(began)))
    honest = blue1.vm_data
    blue1.vm_data = dict(honest, **{'xsisolate/groups': str(written)})
    world.start(blue1)
    reach(world, [('red1', 'red2')])
    status = sh('xsisolate', 'status').text
    world.check('it is quarantined, and status says so', 'quarantined' in status, status)
    blue1.destroy()
    blue1.vm_data = honest
    world.start(blue1)
    world.check('nobody is quarantined', 'quarantined' not in sh('xsisolate', 'status').text)


def replug(world: World) -> None:
    """A VIF is pulled out and put in again, while its guest runs."""
    red1 = world.guests[0]
    seconds = red1.unplug()
    world.check('its port is gone after %.1f s' % seconds, red1.device not in ports(BRIDGE))
    in_order(world)
    red1.plug()
    world.events += 2
    world.check('its hook lets it in again', world.is_let_in(red1), world.refusal(red1))
    red1.configure()
    reach(world, [('red1', 'red2')])


def planned(world: World) -> None:
    """Open vSwitch is restarted as systemd does it, in the middle of an attack."""
    red1, red2, _, free1 = world.guests
    frames = attacks(free1, red1, red2)
    load(free1, frames)
    listener = red1.begin('frames hear 50 ' + ' '.join(frames))
    attacker = free1.begin('end=$(($(date +%s) + 45)); n=0; while [ $(date +%s) -lt $end ]; do '
                           'frames send $(cat /tmp/frames) >/dev/null; n=$((n + 1)); done; '
                           'echo ROUNDS $n')
    time.sleep(4)
    began = time.monotonic()
    for step in (OVS_CTL + ('stop',), ('xsisolate', 'hold'), OVS_CTL + ('start',),
                 ('xsisolate', 'release')):
        done = sh(*step, check=False)
        world.check('%s, by %.1f s' % (' '.join(step[-1:]), time.monotonic() - began),
                    done.code == 0, done.text)
    in_order(world)
    sent = free1.end(attacker, 90).text
    rounds = int(sent.split('ROUNDS')[-1])
    heard = red1.end(listener, 90).text
    leaks = [line for line in heard.splitlines()
             if line.startswith('HEARD ') and not line.endswith(' 0')]
    world.packets += rounds * len(frames)
    world.leaks += sum(int(line.split()[-1]) for line in leaks)
    world.check('red1 has heard none of %d forged frames' % (rounds * len(frames)),
                not leaks and heard.count('HEARD ') == len(frames), heard)
    reach(world, [('red1', 'red2')])


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
        world.check('the daemon has mended it', 'reconciled' in said, said)
        world.say(said.splitlines()[-1])
        reach(world, [('red1', 'red2')])
    finally:
        daemon.terminate()
        daemon.wait()


def both(world: World) -> None:
    """libxl and udev both fire the hooks, at once."""
    red2 = world.guests[1]
    red2.destroy()
    red2.script = 'vif-both'
    world.start(red2)
    world.events += 1
    in_order(world)
    reach(world, [('red1', 'red2')])


def restart(world: World) -> None:
    """Domains come and go in a row."""
    wanted, red2 = len(flows(BRIDGE)), world.guests[1]
    red2.script = 'vif-noop'
    for _ in range(RESTARTS):
        red2.destroy()
        red2.create()
        red2.plug()
        world.events += 2
    red2.boot()
    world.booted += 1
    reach(world, [('red1', 'red2')])
    in_order(world)
    now = len(flows(BRIDGE))
    world.check('%d restarts in a row leave %d flows' % (RESTARTS, wanted), now == wanted,
                '%d' % now)


def sabotage(world: World) -> None:
    """Without the flows everybody hears everybody: silence was their doing, not the tools'."""
    red1, red2, blue1, _ = world.guests
    sh('ovs-ofctl', 'del-flows', BRIDGE)
    sh('ovs-ofctl', 'add-flow', BRIDGE, 'priority=0,actions=NORMAL')
    for guest in world.guests:
        sh('ovs-ofctl', 'mod-port', BRIDGE, guest.device, 'flood')
    deaf = [(name, other) for name, others in hear(world.guests).items()
            for other, versions in others.items() if not all(versions.values())]
    world.check('every ping is heard', not deaf, str(deaf))
    frames = attacks(blue1, red1, red2)
    heard = listen(world, red1, blue1, frames)
    lost = sorted(word for word in frames if not heard.get(word))
    world.check('every forged frame is heard', not lost, ', '.join(lost))
    sh('xsisolate', 'sync')
    for guest in world.guests:      # they have believed the forged ARP
        guest.run('ip neigh flush dev eth0')
    reach(world, [('red1', 'red2')])


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
