"""libxl and udev both fire the hooks, at once and in either order: a log proves which."""
import os
import time
from typing import List

from xen.guest import HOOKS, flows, ports, sh
from xen.world import BRIDGE, World, in_order, reach
from xsisolate.activation import desired

LOG, ORDER = '/run/calls', '/run/order'
SCRIPTS = '/etc/xen/scripts/'
CALLERS = ('libxl', 'udev')
# Stands before the hook, once as libxl's script and once as udev's. What one does for
# `online` the other does, too; at the end libxl says `offline` and udev `remove`.
# Told who is first, the other waits for that one's end; else both wait for each other's begin.
GATE = '''\
#!/bin/sh
PATH=/usr/bin:/bin
me=${{0##*-}}
case $me in libxl) other=udev ;; *) other=libxl ;; esac
case $1 in
online) at=online ;;
offline|remove) at=leave ;;
*) exit 0 ;;
esac
echo "$me begin $at $1" >>{log}
first=$(cat {order})
if [ "$first" = "$other" ]; then event="$other end $at"
elif [ "$first" = both ]; then event="$other begin $at"
fi
for _ in $(seq 150); do
    [ -n "$event" ] || break
    grep -q "$event" {log} && break
    sleep 0.2
done
echo "$me go $at" >>{log}
{hook} "$@"
echo "$me end $at $?" >>{log}
'''.format(log=LOG, order=ORDER, hook=HOOKS + '/vif')


def firing(world: World) -> None:
    """libxl and udev both fire the hooks of a VIF: at once, and in either order."""
    for caller in CALLERS:
        path = SCRIPTS + 'gate-' + caller
        with open(path, 'w') as file:
            file.write(GATE)
        os.chmod(path, 0o755)
    red2, before = world.guests[1], len(flows(BRIDGE))
    red2.unplug()
    world.events += 1
    red2.script = 'gate-libxl'
    write_rule(desired.UDEV_TEXT.replace(HOOKS + '/vif', SCRIPTS + 'gate-udev'))
    for first in ('both',) + CALLERS:
        with open(ORDER, 'w') as file:
            file.write(first)
        with open(LOG, 'w'):
            pass
        red2.plug()
        world.check('plugged, %s' % (first + ' first' if first in CALLERS else 'both at once'),
                    world.is_let_in(red2), world.refusal(red2))
        prove(world, first, 'online')
        red2.configure()
        in_order(world)
        reach(world, [('red1', 'red2')])
        red2.unplug()
        prove(world, first, 'leave')
        world.events += 4
        world.check('nothing of it is left', red2.device not in ports(BRIDGE))
        in_order(world)
    red2.script = 'vif-noop'
    write_rule(desired.UDEV_TEXT)
    red2.plug()
    red2.configure()
    world.events += 1
    reach(world, [('red1', 'red2')])
    now = len(flows(BRIDGE))
    world.check('as many flows as before, %d' % before, now == before, str(now))


def write_rule(text: str) -> None:
    """Have udev go by a rule from now on."""
    with open(desired.UDEV_FILE, 'w') as file:
        file.write(text)
    sh('udevadm', 'control', '--reload')


def prove(world: World, first: str, at: str) -> None:
    """Check who was called when, and that each hook was content."""
    end = time.monotonic() + 60
    lines: List[str] = []
    while len(lines) < 6 and time.monotonic() < end:
        time.sleep(0.1)
        with open(LOG) as file:
            lines = [line.strip() for line in file if line.split()[2] == at]
    steps = [' '.join(line.split()[:2]) for line in lines]
    goes = [steps.index(caller + ' go') for caller in CALLERS] if len(steps) == 6 else [0, 0]
    ends = [steps.index(caller + ' end') for caller in CALLERS] if len(steps) == 6 else [0, 0]
    held = {'both': max(goes) < min(ends), 'libxl': ends[0] < goes[1],
            'udev': ends[1] < goes[0]}[first] and len(steps) == 6
    world.check('%s: %s' % (at, ', '.join(steps)), held)
    bad = [line for line in lines if ' end ' in line and not line.endswith(' 0')]
    world.check('both hooks were content', not bad, '; '.join(bad))
