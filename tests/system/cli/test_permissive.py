"""A host whose network is permissive: every command says that its policies protect nobody."""
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest
from sandbox.daemon import Watch
from sandbox.dom0 import Sandbox
from sandbox.pythons import for_hooks
from sandbox.vm import Vm

from support.command import connected, xsisolate
from support.hook_log import lines
from support.vm_events import refresh
from xsisolate.diagnostics.overview import read_overview

CONFIG = '''\
version: 1
grace: 0
networks:
  xenbr0: {permissive: true, subnets: [10.9.0.0/24]}
'''
pytestmark = [pytest.mark.any_python, pytest.mark.host(sealed=True, config=CONFIG)]
WOULD = "would be quarantined: vm-data/xsisolate/mode: 'bogus' is not a mode"


@pytest.fixture(scope='module')
def vms(host: Sandbox) -> Iterator[Dict[str, Vm]]:
    """Two isolated VMs, one whose policy is no policy, one without, and one on another network."""
    yield {name: host.start_vm(name, bridge, ipv4='10.9.0.%d/24' % number, policy=policy and dict(
        policy, **{'vif/0/ipv4': '10.9.0.%d' % number})) for name, number, bridge, policy in (
            ('red', 11, 'xenbr0', {'groups': 'red'}), ('blue', 12, 'xenbr0', {'groups': 'blue'}),
            ('bad', 13, 'xenbr0', {'mode': 'bogus'}), ('un', 14, 'xenbr0', None),
            ('firm', 15, 'xenbr1', {'groups': 'red'}))}


def row(name: str) -> Any:
    """Return what status says of a VM."""
    one, = xsisolate('status', name, '--json').json['vifs']
    return one


def test_status(vms: Dict[str, Vm]) -> None:
    assert [(row(name)['permissive'], row(name)['mode']) for name in vms] == [
        (True, 'isolated'), (True, 'isolated'), (False, 'unlocked'), (False, 'unlocked'),
        (False, 'isolated')]
    assert [bool(row(name)['would_be']) for name in vms] == [False, False, True, False, False]
    shown = xsisolate('status')
    assert '  isolated, permissive  red ' in shown.out
    assert '\n  %s: %s' % (vms['bad'].netdev(), WOULD) in shown.out
    assert shown.lines[0] == '! permissive: %s: what their policies refuse is recorded, and ' \
        'passes' % ' '.join(vms[name].netdev() for name in ('red', 'blue', 'bad'))
    assert 'mode          isolated, permissive' in xsisolate('status', 'red').out
    assert 'its policy    ' + WOULD in xsisolate('status', 'bad').out


def test_the_host_in_one_piece(vms: Dict[str, Vm]) -> None:
    with connected() as dom0:
        found = read_overview(dom0)
    assert (found.permissive, found.would_be, found.quarantined) == (3, 1, 0)


def test_doctor(vms: Dict[str, Vm]) -> None:
    found = [one for one in xsisolate('doctor', '--json', code=1).json['findings']
             if one['what'] in ('permissive', 'VIF')]
    assert [one['state'] for one in found] == ['warning', 'warning']
    assert found[0]['found'].startswith('protects nobody: networks xenbr0; VIFs red (vif')
    assert WOULD in found[1]['found'] and found[1]['found'].endswith('locking mode says: unlocked')


def test_matrix(vms: Dict[str, Vm], tmp_path: Path) -> None:
    """What enforced parties leave passes; what would be refused is marked, and said."""
    name = {key: vm.netdev() for key, vm in vms.items()}
    told = {vif['name']: vif for network in xsisolate('matrix', '--json').json['networks']
            for vif in network['vifs']}
    assert told['red']['reaches'][name['blue']] == ['everything']
    assert told['red']['would_reach'] == {name[other]: [] for other in ('blue', 'bad', 'un')}
    assert told['un']['would_reach'] == {name[other]: [] for other in ('red', 'blue', 'bad')}
    assert (told['red']['outside'], told['red']['would_outside']) == (['everything'], [])
    assert told['firm']['would_reach'] == {} and told['firm']['would_outside'] is None
    shown = xsisolate('matrix').out
    assert '~ passes and would be refused, a VIF is permissive' in shown
    assert '  permissive, so their policies protect nobody: blue red bad' in shown
    xsisolate('matrix', '--html', str(tmp_path / 'page.html'))
    page = (tmp_path / 'page.html').read_text(encoding='utf-8')
    assert 'cells would' in page and 'isolated, permissive' in page and WOULD[:20] in page


def test_hooks(vms: Dict[str, Vm]) -> None:
    line, = lines(refresh(vms['red']))
    assert ' mode=isolated permissive=yes groups=red ' in line
    assert 'permissive' not in lines(refresh(vms['firm']))[0]
    said = [text for text in lines(refresh(vms['bad'])) if 'would be' in text]
    assert len(said) == 1 and 'vif=' + vms['bad'].netdev() in said[0]
    assert "reason=\"quarantined: vm-data/xsisolate/mode: 'bogus'" in said[0]


def test_a_vif_without_an_address(host: Sandbox, vms: Dict[str, Vm]) -> None:
    """Enforced it would pass nothing but DHCP; now all passes, and nobody says otherwise."""
    vm = host.start_vm('bare', 'xenbr0', policy={'groups': 'red'})
    try:
        assert 'keys would pass nothing but DHCP' in '\n'.join(lines(refresh(vm)))
        assert 'without it nothing would pass but DHCP' in xsisolate('doctor', code=1).out
    finally:
        vm.shutdown()


def test_explain(vms: Dict[str, Vm]) -> None:
    found = xsisolate('explain', 'red', 'blue', '--json', code=None).json
    assert found['verdict'] == 'reaches' and found['notes'] == [
        '%s (%s) is permissive: what its policy refuses is recorded, and passes' % (
            name, vms[name].netdev()) for name in ('red', 'blue')]
    assert found['would_be_stopped_by'] == 'red (%s), egress' % vms['red'].netdev()
    assert [step['would_refuse'] for step in found['request'][0]['steps']] == [
        False, False, True, True]


def test_the_daemon(vms: Dict[str, Vm]) -> None:
    """It says once what would be quarantined, and that a VIF that it refreshes is permissive."""
    watch = Watch(for_hooks())
    try:
        watch.start()
        watch.wait_for('would be')
        vms['red'].set_policy({'groups': 'red,green', 'vif/0/ipv4': '10.9.0.11'})
        line = watch.wait_for('refreshed', 'vif=' + vms['red'].netdev(), seconds=20)
        assert ' mode=isolated permissive=yes ' in line
        watch.stop()
        said, = watch.lines('would be')
        assert 'vif=' + vms['bad'].netdev() in said
    finally:
        watch.close()
        vms['red'].set_policy({'groups': 'red', 'vif/0/ipv4': '10.9.0.11'})
        refresh(vms['red'])
