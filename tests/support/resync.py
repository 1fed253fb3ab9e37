"""How tests run `xsisolate sync`, and all that they see of a host before and after."""
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import Dict, Iterator, List, Sequence, Tuple

import sandbox.pinging
from support.command import DIFFERENT, DONE, Outcome, xsisolate
from sandbox.hooks import REPOSITORY
from sandbox.host import Host
from sandbox.ovs import RECORD_COOKIE
from sandbox.process import wait_until
from sandbox.dom0 import Sandbox
from support.packets.built_network import CONFIG, Net

# Whatever a test has left a bridge to speak.
ANY_VERSION = 'OpenFlow10,OpenFlow11,OpenFlow13,OpenFlow14'
# In a group's header: note:`group NAME||STAMP REST|DIGEST`, in hexadecimal.
STAMP = re.compile(r'(note:67\.72\.6f\.75\.70\.20\.(?:[0-9a-f]{2}\.)*?7c\.7c\.)'
                   r'(?:[0-9a-f]{2}\.){32}(20\.)')
LEARNED = re.compile(r'cookie=0x5849534f5\w+, table=(222, priority=100|207, priority=96),')
PAIR_CONFIG = ('version: 1\nunsealed: accept\ngrace: 1\n'
               'networks: {xenbr0: {subnets: [10.9.0.0/24]}}\n')
NOTHING = '0 flows added, 0 deleted, 0 settings changed, 0 dead ports removed'
State = Dict[str, List[str]]


def sync(*arguments: str, code: int = DONE) -> Outcome:
    """Run the command in this process, which saves a third of a second; check its exit code."""
    return xsisolate('sync', *arguments, code=code)


def program(*arguments: str, python: str = sys.executable) -> Outcome:
    """Run the command as a shell of Dom0's does, with the poorest of environments."""
    done = subprocess.run([python, '-m', 'xsisolate', *arguments], encoding='ascii', timeout=60,
                          env={'LC_ALL': 'C', 'PYTHONPATH': os.path.join(REPOSITORY, 'lib')},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    return Outcome(done.returncode, done.stdout, done.stderr)


# --- what is on the switch -----------------------------------------------------------------


def flows(host: Sandbox, bridge: str = 'xenbr0') -> List[str]:
    """Return every flow of a bridge, whoever's, without counters."""
    return sorted(host.ovs.dump_flows(bridge, '-O', ANY_VERSION))


def ours(host: Sandbox, bridge: str = 'xenbr0') -> List[str]:
    """Return the product's flows of a bridge."""
    return [flow for flow in flows(host, bridge) if 'cookie=0x5849534f' in flow]


def ages(host: Sandbox, bridge: str) -> Dict[str, float]:
    """Return since when each flow has been there, but what is learned: a new one is younger."""
    text = host.ovs.ofctl('-O', ANY_VERSION, '--no-names', 'dump-flows', bridge)
    now = time.monotonic()
    found = re.findall(r'^ *(.*)duration=([0-9.]+)s(.*?), n_packets=\d+, n_bytes=\d+(.*)$', text,
                       re.MULTILINE)
    since = {head.rstrip(', ') + middle + rest: now - float(age)
             for head, age, middle, rest in found}
    return {flow: when for flow, when in since.items()
            if not LEARNED.search(flow) and not flow.startswith(RECORD_COOKIE)}


def state(host: Sandbox) -> State:
    """Return everything that a sync could change: flows by bridge, floods, and OVSDB.

    What the switch learns from packets it will learn again; when a group's members were last
    looked at is no difference.
    """
    kept = host.ovs.vsctl('--columns=name,external_ids,ofport', '-f', 'csv', 'list', 'Interface')
    bridges = host.ovs.vsctl('--columns=name,protocols', '-f', 'csv', 'list', 'Bridge')
    bridges += host.ovs.vsctl(*' -- '.join('list-ports ' + b for b in host.bridges).split())
    ports = '' if 'OpenFlow11' in bridges else '\n'.join(
        host.ovs.ofctl('-O', 'OpenFlow10', 'dump-ports-desc', bridge) for bridge in host.bridges)
    floods = re.findall(r'^ *([\w-]+\([\w.-]+\)|config:.*)', ports, re.MULTILINE)
    found = {bridge: [STAMP.sub(r'\1..\2', flow) for flow in flows(host, bridge)
                      if not LEARNED.search(flow)] for bridge in host.bridges}
    return dict(found, database=sorted((kept + '\n' + bridges).splitlines()), floods=floods)


def counter(host: Sandbox) -> str:
    """Return how often somebody has asked ovs-vswitchd to look at the database."""
    return host.ovs.vsctl('get', 'Open_vSwitch', '.', 'next_cfg')


@contextmanager
def watched(host: Sandbox, bridge: str) -> Iterator[List[str]]:
    """Collect what the switch says of changes to its flows; the list is full at the end."""
    said: List[str] = []
    log = '/run/flow-monitor.%s' % bridge
    with open(log, 'wb') as file:
        monitor = subprocess.Popen(['ovs-ofctl', 'monitor', bridge, 'watch:!initial'],
                                   stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        wait_until(lambda: 'NXST_FLOW_MONITOR reply' in read(log), 'the flow monitor')
        yield said
        time.sleep(0.05)
    finally:
        monitor.kill()
        monitor.wait()
    said += [line for line in read(log).splitlines() if ' event=' in line]


def read(path: str) -> str:
    """Return a file's text."""
    with open(path, encoding='utf-8') as file:
        return file.read()


# --- what a sync does ----------------------------------------------------------------------


def assert_in_sync(host: Sandbox) -> None:
    """Fail unless the dry run sees nothing to do, and the run does nothing."""
    seen = sync('--dry-run')
    assert all(line.startswith('# ') for line in seen.lines) and not seen.err, seen
    before, since, asked = state(host), {b: ages(host, b) for b in host.bridges}, counter(host)
    done = sync()
    assert done.out.count(NOTHING) == len(host.bridges) and not done.err, done
    assert state(host) == before and counter(host) == asked
    for bridge in host.bridges:
        now = ages(host, bridge)
        assert now.keys() == since[bridge].keys()
        young = [flow for flow in now if now[flow] > since[bridge][flow] + 0.25]
        assert not young, young


def assert_repaired(host: Sandbox, wanted: State, *shown: str, bridge: str = '') -> Outcome:
    """Fail unless the dry run shows the damage and one run, no more, repairs it.

    `shown` are parts of lines that the dry run's diff must have. Returns the dry run.
    """
    damaged, only = state(host), ['--bridge', bridge] if bridge else []
    assert damaged != wanted, 'there is no damage'
    seen = sync('--dry-run', *only, code=DIFFERENT)
    diff = [line for line in seen.lines if line[0] in '+-']
    missing = [text for text in shown if not any(text in line for line in diff)]
    assert diff and not missing, (missing, seen.out)
    assert state(host) == damaged, 'the dry run has changed something'
    sync(*only)
    now = state(host)
    assert now == wanted, difference(wanted, now)
    return seen


def difference(wanted: State, now: State) -> str:
    """Say in a few words where two states differ."""
    lines = ['%s%s: %s' % (sign, part, line) for part in wanted
             for sign, one, other in (('-', wanted, now), ('+', now, wanted))
             for line in one[part] if line not in other[part]]
    return '\n'.join(lines[:20])


# --- packets that must not be lost ---------------------------------------------------------


@contextmanager
def pinging(sender: Host, address: str, least: int = 20) -> Iterator[None]:
    """Ping 250 times a second; fail if a single answer is missing at the end."""
    assert sender.ping(address, 3)
    with sandbox.pinging.pinging(sender, address) as pings:
        yield
    assert pings.sent >= least and not pings.lost, (pings.sent, pings.lost)


# --- hosts ---------------------------------------------------------------------------------


def write_members(host: Sandbox, group: str, *members: Tuple[str, str],
                  bridge: str = 'xenbr0') -> None:
    """Write a group's members on other hosts, as the pool's daemon does: (MAC, address)."""
    folder = '/run/xsisolate/groups'
    os.makedirs(folder, exist_ok=True)
    text = ', '.join('{"network": "%s", "mac": "%s", "addresses": ["%s"]}'
                     % (host.network_uuid(bridge), *member) for member in members)
    with open('%s/%s.json' % (folder, group), 'w') as file:
        file.write('{"version": 1, "members": [%s]}' % text)


def start_town(net: Net) -> None:
    """Populate two bridges and two VLANs with a VIF of every kind, in an order that matters."""
    net.dom0.configure(CONFIG + TOWN_CONFIG)
    net.bridge('xenbr0')
    net.bridge('xenbr1')
    net.bridge('xapi120', parent='xenbr0', vlan=120)
    net.bridge('xapi121', parent='xenbr0', vlan=121)
    net.uplink('xenbr0')
    write_members(net.dom0, 'red', ('02:00:00:00:bb:01', '10.9.0.200'))
    for name, number, policy, bridge, more in TOWN:
        net.vm(name, number, policy, bridge, **more)
    duo = net.dom0.start_vm('duo', plug=False, policy={
        'vif/0/groups': 'red', 'vif/0/ipv4': '10.9.0.51',
        'vif/1/groups': 'blue', 'vif/1/ipv4': '10.9.0.52'})
    net.dom0.add_vif(duo, 'xenbr1', mac='02:00:00:00:00:34')
    duo.plug()
    net.vms['duo'] = duo


RED, BLUE = {'groups': 'red'}, {'groups': 'blue'}
VRRP = {'groups': 'vrrp', 'vif/0/shared': '10.9.0.100'}
TOWN_CONFIG = '''
  xenbr1:
    default: isolated
    subnets: [10.9.0.0/24]
groups:
  red: {addresses: [10.9.0.240/28], rules: [tcp/22, icmp, icmp6]}
  green: {reach: [red]}
'''
TOWN: Sequence[Tuple[str, int, object, str, Dict[str, object]]] = (
    ('red2', 12, dict(RED, allow='external'), 'xenbr0', {}),
    ('red1', 11, RED, 'xenbr0', {'hvm': True}),
    ('blue', 13, BLUE, 'xenbr0', {}),
    ('green', 14, {'groups': 'green, blue', 'allow': 'tcp/22@10.9.0.11 10.9.0.0/28'}, 'xenbr0', {}),
    ('vlan', 15, RED, 'xapi120', {}), ('twin', 11, RED, 'xapi121', {'mac': '02:00:00:00:00:77'}),
    ('trunk', 16, dict(BLUE, allow='external'), 'xenbr0', {'trunks': (120, 121)}),
    ('locked', 17, {'mode': 'locked'}, 'xenbr0', {}),
    ('xapis', 18, None, 'xenbr0', {'locking_mode': 'locked', 'ipv4_allowed': ('10.9.0.18',)}),
    ('disabled', 19, {'mode': 'disabled'}, 'xenbr0', {}),
    ('odd', 20, {'mode': 'nonsense'}, 'xenbr0', {}),
    ('open', 21, {'mode': 'unlocked'}, 'xenbr0', {}), ('free', 22, None, 'xenbr0', {}),
    ('default', 23, None, 'xenbr1', {}), ('far', 24, RED, 'xenbr1', {}))
