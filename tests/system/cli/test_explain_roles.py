"""`explain` on a private network whose gateway and DHCP server is a VM: policy and switch agree."""
import json
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from support.command import xsisolate
from sandbox import seals
from sandbox.dom0 import Sandbox, Sealer

pytestmark = pytest.mark.any_python
CONFIG = 'version: 1\ngrace: 0\nnetworks:\n  xapi9: {subnets: [10.9.0.0/24]}\n'
OUTSIDE = '192.0.2.1'


@pytest.fixture(scope='module')
def sealer() -> Sealer:
    """Policies are sealed."""
    return seals.seal


@pytest.fixture(scope='module', params=['locked', 'isolated'])
def mode(dom0: Sandbox, request: Any) -> Iterator[str]:
    """A router VM of each mode, and two groups behind it."""
    dom0.add_bridge('xapi9')
    dom0.configure(CONFIG)
    started: List[Any] = []
    policies: Tuple[Tuple[str, int, Dict[str, str]], ...] = (
        ('rt', 254, {'mode': request.param, 'vif/0/roles': 'gateway dhcp router'}),
        ('red', 11, {'groups': 'red', 'allow': 'external'}),
        ('blue', 21, {'groups': 'blue', 'allow': 'external'}), ('lone', 31, {'groups': 'lone'}))
    for name, number, policy in policies:
        started.append(dom0.start_vm(name, bridge='xapi9', ipv4='10.9.0.%d/24' % number, policy={
            **policy, 'vif/0/ipv4': '10.9.0.%d' % number}))
    yield request.param
    for vm in started:
        vm.shutdown()
    dom0.ovs.vsctl('del-br', 'xapi9')
    dom0.bridges.remove('xapi9')


@pytest.mark.parametrize('source, target, service, reaches', [
    ('red', OUTSIDE, '', True), ('red', OUTSIDE, 'tcp/443', True), (OUTSIDE, 'red', '', True),
    ('blue', OUTSIDE, '', True), ('lone', OUTSIDE, '', False), (OUTSIDE, 'lone', '', False),
    ('red', 'blue', '', False), ('red', 'rt', 'udp/67', None), ('red', 'rt', '', 'locked'),
    ('rt', 'red', '', 'locked'), ('rt', 'lone', '', False), ('lone', 'rt', '', False)])
def test_explain(mode: str, source: str, target: str, service: str, reaches: Any) -> None:
    code, said, err = xsisolate('explain', source, target, *[service] * bool(service))
    assert 'policy and switch agree' in said, said + err
    if reaches is not None:
        expected = reaches == mode if isinstance(reaches, str) else reaches
        assert ('DOES NOT REACH' not in said) is expected, said
    if OUTSIDE in (source, target) and reaches is True:
        assert 'through rt' in said


def test_status_knows_roles(mode: str) -> None:
    _, said, _ = xsisolate('status', '--json')
    roles = {vif['name']: vif['roles'] for vif in json.loads(said)['vifs']}
    assert roles.pop('rt') == ['dhcp', 'gateway', 'router'] and not any(roles.values())
