"""`report` shows what an issue needs, and nothing that is this host's own."""
from pathlib import Path
from typing import Iterator, Tuple

import pytest
from sandbox.dom0 import Sandbox
from sandbox.uplink import GatewayAddresses
from sandbox.vm import Vm
from xsisolate.diagnostics import host_report
from xsisolate.dom0.run_files.group_members import write_members
from xsisolate.policy.address import eui64_link_local, format_prefix, parse_prefix
from xsisolate.policy.model import RemoteMember

from support.command import DONE, xsisolate

pytestmark = pytest.mark.any_python
NAMES = ('payroll-front', 'Kunde Müller & Söhne, Abrechnung', 'payroll', 'legacy-dmz')
ADDRESSES = ('10.77.3.11', '10.77.3.12', '10.77.3.254', '10.77.3.0', 'fd77:abcd::b', 'fd77:abcd::c')
MACS = ('02:00:00:4b:1d:5a', '02:00:00:4b:1d:5b', '02:00:00:4b:1d:5f')
REMOTE, REMOTE_MAC = '10.77.3.99', '02:00:00:4b:1d:60'
CONFIG = '''
version: 1
unsealed: accept
networks:
  xenbr0:        # for Mr Secret
    subnets: [10.77.3.0/24]
    gateways: [{ipv4: 10.77.3.254, mac: "02:00:00:4b:1d:5f"}]
groups:
  payroll:
    rules: [tcp/443]
  legacy-dmz: {}
'''
HOST = 'dom0-seven.example.org'
LOG = ('Nov 29 11:22:33 dom0-old.example.org xsisolate[71]: hook vif=vif7.0 '
       'vm=%s groups=retired,payroll reason="10.77.3.11 of %s"\n'
       'Nov 29 11:22:34 dom0-seven xsisolate-watch: compared\n'
       'Nov 29 11:22:34 x other[1]: not ours: 10.77.3.12\n')


@pytest.fixture(scope='module')
def tenants(dom0: Sandbox) -> Tuple[Vm, Vm]:
    """Two VMs whose names, addresses and group are somebody's business."""
    dom0.add_bridge('xenbr0')
    dom0.configure(CONFIG)
    dom0.add_uplink('xenbr0', GatewayAddresses(MACS[2], '10.77.3.254/24', 'fd77:abcd::1/64'))
    write_members({'payroll': [RemoteMember(dom0.network_uuid('xenbr0'), REMOTE_MAC, frozenset(
        [parse_prefix(REMOTE)]))]})
    one, other = (dom0.start_vm(name, ipv4='%s/24' % ipv4, mac=mac, policy={
        'groups': 'payroll', 'allow': 'tcp/443@10.77.3.254', 'vif/0/ipv4': ipv4,
        'vif/0/ipv6': ipv6})
        for name, ipv4, ipv6, mac in zip(NAMES, ADDRESSES, ADDRESSES[4:], MACS))
    return one, other


@pytest.fixture
def originals(dom0: Sandbox, tenants: Tuple[Vm, Vm], tmp_path: Path,
              monkeypatch: pytest.MonkeyPatch) -> Iterator[Tuple[str, ...]]:
    """Everything that must not be shown, in whatever form."""
    log = tmp_path / 'messages'
    log.write_text(LOG % (tenants[0].uuid, MACS[0]))
    monkeypatch.setattr(host_report, 'LOGS', (str(log),))
    monkeypatch.setattr(host_report, 'read_hostname', lambda: HOST)
    numbers = ['%x' % parse_prefix(address).value for address in ADDRESSES[:3] + (REMOTE,)]
    words = [word for mac in MACS + (REMOTE_MAC,) for word in (
        '0x%x,' % int(mac.replace(':', '')[4:], 16), '%x->' % int(mac.replace(':', '')[4:], 16))]
    noted = ['.'.join('%02x' % byte for byte in name.encode()) for name in NAMES[2:]]
    links = [format_prefix(eui64_link_local(mac)) for mac in MACS]
    uuids = [vm.uuid for vm in tenants] + [dom0.network_uuid('xenbr0')]
    yield (*NAMES, *ADDRESSES, *MACS, REMOTE, REMOTE_MAC, *numbers, *words, *noted, *links, *uuids,
           'Müller', 'M\\xfcller', 'Secret', 'retired', 'dom0-old', HOST, 'dom0-seven')


def test_nothing_of_the_hosts_own_is_shown(originals: Tuple[str, ...]) -> None:
    shown = xsisolate('report', code=DONE).out
    for title in ('versions', 'doctor', 'configuration', 'flows', 'log'):
        assert '## %s\n' % title in shown
    left = [word for word in originals if word.lower() in shown.lower()]
    assert not left, left


def test_what_an_issue_needs_is_shown(originals: Tuple[str, ...]) -> None:
    shown = xsisolate('report', code=DONE).out
    for words in ('Open vSwitch ', 'ok      ovs-vswitchd', 'rules: [tcp/443]', 'table=234',
                  'cookie=0x5849534f', 'groups=name-', 'hook vif=vif7.0', 'xenbr0'):
        assert words in shown, words
    assert 'not ours' not in shown


def test_the_same_is_the_same(originals: Tuple[str, ...], tenants: Tuple[Vm, Vm]) -> None:
    """A MAC address of a flow's match is that of the log's line."""
    shown = xsisolate('report', code=DONE).out
    line = next(line for line in shown.splitlines() if 'hook vif=vif7.0' in line)
    mac = line.split(' of ')[1].rstrip('"')
    assert mac.startswith('02:00:00:00:') and 'dl_src=%s' % mac in shown


def test_a_broken_configuration(dom0: Sandbox, originals: Tuple[str, ...]) -> None:
    dom0.configure(CONFIG.replace('version: 1', 'version: 1\n  bad indent for Contoso'))
    try:
        shown = xsisolate('report', code=DONE).out
    finally:
        dom0.configure(CONFIG)
    left = [word for word in (*originals, 'Contoso') if word.lower() in shown.lower()]
    assert not left, left
