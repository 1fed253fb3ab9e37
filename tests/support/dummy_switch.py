"""ovs-vswitchd with dummy ports, and a quick way to ask it what it would do."""
import glob
import json
import re
import socket

from support.bridge_scenarios import flows_of
from sandbox.ovs import LOGS, RUN, SOCKET, Ovs
from sandbox.process import start
from xsisolate.dom0.ovs import flow_table
from xsisolate.openflow.flow import FlowDiff

ACTIONS = re.compile(r'^Datapath actions: (.*)$', re.MULTILINE)
ACTION = re.compile(r'push_vlan\([^)]*\)|pop_vlan|\w+\([^()]*(?:\([^()]*\)[^()]*)*\)|\d+')
PORT = re.compile(r'^\s+(\S+) (\d+)/(\d+): ', re.MULTILINE)


class Switch(Ovs):
    """Open vSwitch whose ports and datapath are dummies: no netdev, no root needed."""

    def __enter__(self):
        self.bridges = 0
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start_vswitchd(self):
        """Start ovs-vswitchd and wait until it has made the bridges of its database."""
        self.vswitchd = start(
            ['ovs-vswitchd', 'unix:' + SOCKET, '--pidfile', '--log-file', '--disable-system',
             '--enable-dummy=override', '-vconsole:off', '-vsyslog:off'],
            LOGS + '/ovs-vswitchd.out')
        self.vsctl('set', 'Open_vSwitch', '.',
                   'external_ids:lab-vswitchd=%d' % self.vswitchd.pid)

    def add_bridge(self, *settings):
        """Add a bridge of a new name."""
        self.bridges += 1
        name = 'xenbr%d' % self.bridges
        self.vsctl('add-br', name, '--', 'set', 'Bridge', name, 'datapath_type=dummy',
                   'fail_mode=standalone', *settings)
        return name

    def add_ports(self, bridge, ports):
        """Add ports: (name, ofport, tag or None) each."""
        words = []
        for name, ofport, tag in ports:
            words += ['--', 'add-port', bridge, name] + ([] if tag is None else ['tag=%d' % tag])
            words += ['--', 'set', 'Interface', name, 'ofport_request=%d' % ofport]
        self.vsctl(*words[1:])

    def ask(self, *words):
        """Do what ovs-appctl does, without starting it."""
        path, = glob.glob(RUN + '/ovs-vswitchd.*.ctl')
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(json.dumps(
                {'id': 0, 'method': words[0], 'params': list(words[1:])}).encode())
            text = b''
            while True:
                text += connection.recv(1 << 20)
                try:
                    answer = json.loads(text.decode())
                    break
                except ValueError:
                    continue
        assert answer['error'] is None, answer['error']
        return answer['result']

    def trace(self, bridge, flow, *options):
        """Return the text of ofproto/trace."""
        return self.ask('ofproto/trace', bridge, spell(flow), *options)

    def ofports(self, bridge):
        """Return the datapath's numbers of a bridge's ports as OpenFlow numbers."""
        block = self.ask('dpif/show').split('\n  %s:' % bridge)[1].split('\n  xen')[0]
        return {int(dp): int(of) for _, of, dp in PORT.findall(block)}

    def outputs(self, bridge, flow, *options):
        """Return where a packet would come out: {(ofport, VLAN tag or 0)}."""
        ports, found = self.ofports(bridge), set()
        for actions in ACTIONS.findall(self.trace(bridge, flow, *options)):
            found |= parse_outputs(actions, ports, tag_of(flow))
        return found


def spell(flow):
    """Return a packet with the names that ofproto/trace has for fields of udp and icmp6."""
    if ',udp' in flow:
        flow = flow.replace('tp_', 'udp_')
    return flow.replace('icmp_', 'icmpv6_') if ',icmp6' in flow else flow


def tag_of(flow):
    """Return the VLAN tag of a packet to trace."""
    found = re.search(r'dl_vlan=(\d+)', flow)
    return int(found.group(1)) if found else 0


def parse_outputs(actions, ports, tag):
    """Return (ofport, tag) for each output among datapath actions."""
    found = set()
    for action in ACTION.findall(actions):
        if action.startswith('push_vlan'):
            tag = int(re.search(r'vid=(\d+)', action).group(1))
        elif action == 'pop_vlan':
            tag = 0
        elif action.isdigit():
            found.add((ports[int(action)], tag))
    return found


def load(bridge, items):
    """Put a plan on a bridge as a whole."""
    flow_table.apply_diff(bridge, FlowDiff(add=tuple(flows_of(items))))
