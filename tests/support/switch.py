"""What is on a bridge: flows, ports, and their settings."""
import re
from contextlib import contextmanager
from typing import Dict, FrozenSet, Iterator, List, Mapping, Match

from sandbox.dom0 import Sandbox

from xsisolate.openflow.ownership import REGISTRY
from xsisolate.pipeline.tables import ARRIVED, DESTINATION, LOCAL, RESUMED, SOURCE

OURS = 'cookie=0x5849534f'
# What packets teach the switch, by table and priority; see settle_flow, arrival_flow.
LEARNED = ((LOCAL, 100), (SOURCE, 96), (ARRIVED, 200), (RESUMED, 100), (RESUMED, 50))


def our_flows(host: Sandbox, bridge: str = 'xenbr0') -> FrozenSet[str]:
    """Return the product's flows on a bridge, with ports by name."""
    dump = host.ovs.ofctl('-O', 'OpenFlow14', '--no-stats', '--names', 'dump-flows', bridge,
                          OURS + '00000000/0xffffffff00000000')
    return frozenset(line.strip() for line in dump.splitlines() if 'actions=' in line)


def policy_flows(host: Sandbox, bridge: str = 'xenbr0') -> FrozenSet[str]:
    """The same without headers and what the switch learned; ports in order of their names."""
    apart = ['table=%d,' % REGISTRY] + ['table=%d, priority=%d,' % where for where in LEARNED]
    return frozenset(re.sub(r'output:"[^ ]+', sorted_outputs, flow)
                     for flow in our_flows(host, bridge)
                     if not any(words in flow for words in apart))


def sorted_outputs(actions: Match[str]) -> str:
    """Return a list of outputs without what was plugged first."""
    return ','.join(sorted(actions.group().split(',')))


def foreign_flows(host: Sandbox, bridge: str = 'xenbr0') -> List[str]:
    """Return everybody else's flows on a bridge, with their cookies."""
    return sorted(line for line in host.ovs.dump_flows(bridge, '-O', 'OpenFlow14')
                  if OURS not in line)


def ports(host: Sandbox, bridge: str = 'xenbr0') -> List[str]:
    """Return the ports on a bridge."""
    return host.ovs.vsctl('list-ports', bridge).split()


def port_settings(host: Sandbox, netdev: str, bridge: str = 'xenbr0') -> Mapping[str, bool]:
    """Return {'no-flood': True, ...}: whether the switch leaves a port out of floods."""
    text = host.ovs.ofctl('-O', 'OpenFlow10', '--names', 'dump-ports-desc', bridge)
    block = text.split('(%s): addr' % netdev)[1].split('current:')[0]
    return {'no-flood': 'NO_FLOOD' in block}


def external_ids(host: Sandbox, netdev: str) -> Dict[str, str]:
    """Return the external_ids of a netdev's Interface."""
    text = host.ovs.vsctl('get', 'Interface', netdev, 'external_ids')
    return dict(re.findall(r'"?([\w-]+)"?="?((?:[^"\\,}]|\\.)*)"?', text.strip('{}')))


@contextmanager
def full_table(host: Sandbox, bridge: str = 'xenbr0', table: int = DESTINATION) -> Iterator[None]:
    """Let one of our tables hold a single flow: the switch refuses the others."""
    host.ovs.vsctl('--id=@full', 'create', 'Flow_Table', 'flow_limit=1',
                   'overflow_policy=refuse', '--',
                   'set', 'Bridge', bridge, 'flow_tables:%d=@full' % table)
    try:
        yield
    finally:
        host.ovs.vsctl('clear', 'Bridge', bridge, 'flow_tables')
