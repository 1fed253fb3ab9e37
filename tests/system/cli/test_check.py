"""`check`: every mistake of a file with its line, and what is legal but probably not meant."""
import io
import sys
from typing import List, Tuple

import pytest
from xsisolate.config.check import Checked, check_text
from xsisolate.policy.model import PoolNetwork

from support.command import BROKEN, xsisolate

pytestmark = pytest.mark.any_python


def remarks(text: str) -> Tuple[List[str], List[str]]:
    """Return a file's errors and warnings as `line: text`."""
    found: Checked = check_text(text, 'x.yaml')
    return (['%d: %s' % error for error in found.errors],
            ['%d: %s' % warning for warning in found.warnings])


def test_all_mistakes_at_once() -> None:
    errors, warnings = remarks('''unsealed: accept
versoin: 1
networks:
  xapi3:
    default: lockd
    subnets: [10.9.0.1/24, "fd00:9::/64", 10.0.0.300]
    gateways: [{ipv4: 10.9.0.254}, {mac: "00:00:5e:00:01:01"}]
    subnets: []
  xapi4: {gateways: [{ipv4: 10.9.0.254}]}
groups:
  red: {reach: [green], vms: [1]}
  blue: {rules: [tcp/99999, icmp], color: 7}
  Bad: {}
''')
    assert [error.split(':')[0] for error in errors] == ['1', '2', '5', '6', '6', '7', '8', '11',
                                                         '11', '12', '12', '13']
    assert errors[0] == '1: has no version: write version: 1'
    assert errors[2].startswith("5: networks.xapi3.default: 'lockd' is not a mode")
    assert errors[6] == '8: networks.xapi3.subnets: is written twice, first in line 6'
    # What is left is looked at, too.
    assert warnings[0].startswith('1: unsealed: accept')
    assert [warning for warning in warnings if '10.9.0.254 has no mac' in warning] == [
        '9: networks.xapi4: 10.9.0.254 has no mac: any machine beyond the uplink may answer for it']


@pytest.mark.parametrize('text', [
    'groups: {red: {vms: [nonsense]}}', 'groups: {red: {rules: [tcp/0]}}',
    'networks: {xapi3: {subnets: [10.0.0.300], gateways: [{ipv4: 10.0.0.1, mac: '
    '"02:00:00:00:00:01"}]}}',
    'networks: {xapi3: {subnets: [10.0.0.0/24], gateways: [{ipv4: 10.0.0.1, mac: x}]}}',
    'networks: {5C9A7D0C-0000-0000-0000-000000000001: {default: x, subnets: [0.0.0.0/0]}}',
    'groups:\n  red: {reach: [blue]}\n  blue: {reach: [red, green]}'])
def test_a_mistake_is_no_reason_for_a_warning(text: str) -> None:
    """What it leaves behind, an empty list or a gateway without MAC address, was not written."""
    errors, warnings = remarks('version: 1\n' + text)
    assert len(errors) == 1 and not warnings


@pytest.mark.parametrize('text, error', [
    ('', '1: the file is empty'), ('a: [', '1: while parsing a flow node'),
    ('version: 2', '1: version: '), ('- a', '1: is a list, expected a mapping'),
    ('version: 1\nnetworks: 7', '2: networks: is int, expected a mapping'),
    ('version: 1\nx: &a 1\ny: *a', '3: aliases'), ('version: 1\n\tx: 1', '2: ')])
def test_files_of_which_little_is_left(text: str, error: str) -> None:
    errors, _ = remarks(text)
    assert errors and errors[0].startswith(error), errors


def test_a_mistake_does_not_make_another() -> None:
    """A group with a wrong rule is a group all the same; a wrong version is said once."""
    errors, _ = remarks('version: one\ngroups:\n  red: {rules: [x], reach: [blue]}\n'
                        '  blue: {reach: [red]}\n')
    assert [error.split(':')[0] for error in errors] == ['1', '3']


@pytest.mark.parametrize('text, warning', [
    ('grace: 0', '2: grace: 0 quarantines'), ('unsealed: accept', '2: unsealed: accept lets'),
    ('permissive: true', '2: permissive: true protects nobody'),
    ('networks:\n  xapi3:\n    permissive: true',
     '4: networks.xapi3: permissive: true protects nobody'),
    ('groups: {red: {vms: []}}', '2: groups.red: vms: [] means that no VM may be'),
    ('groups: {red: {rules: []}}', '2: groups.red: rules: [] means'),
    ('groups: {red: {rules: ["in:tcp/22"]}}', '2: groups.red: in:tcp/22 has no effect between'),
    ('groups:\n  red: {}\n  blue: {reach: [red]}', '4: groups.blue: reach: red has no effect'),
    ('groups: {red: {reach: [red]}}', '2: groups.red: reach: a group reaches itself'),
    ('groups: {red: {addresses: [0.0.0.0/0]}}', '2: groups.red: 0.0.0.0/0 makes very many'),
    ('networks: {xapi3: {gateways: [{ipv4: 10.0.0.1, mac: "02:00:00:00:00:01"}]}}',
     '2: networks.xapi3: without subnets `external` means every address'),
    ('networks:\n  xapi3:\n    subnets: [10.0.0.0/24]\n    gateways: [{ipv4: 10.0.0.1}]',
     '5: networks.xapi3: 10.0.0.1 has no mac'),
    ('networks:\n  xapi3:\n    subnets: [10.0.0.0/24]\n    dhcp_servers: [10.1.0.1]',
     '5: networks.xapi3: 10.1.0.1 is in none of the subnets'),
    ('networks:\n  xapi3:\n    subnets: [10.0.0.0/24]\n    gateways: [{ipv4: 10.1.0.1, '
     'mac: "02:00:00:00:00:01"}]', '5: networks.xapi3: 10.1.0.1 is in none of the subnets'),
    ('networks: {xapi3: {subnets: [0.0.0.0/0]}}', '2: networks.xapi3: 0.0.0.0/0 leaves nothing'),
    ('networks: {"Pool-wide network": {}}', "2: networks.'Pool-wide network': must be a name-"),
])
def test_legal_but_odd(text: str, warning: str) -> None:
    errors, warnings = remarks('version: 1\n' + text)
    assert not errors and len(warnings) == 1 and warnings[0].startswith(warning), warnings


def test_name_labels() -> None:
    """A host that follows XAPI knows them."""
    uuid = '6b9a3a0a-3d1c-9d7e-2d3c-4b5a69788796'
    pool = [PoolNetwork(uuid, 'xapi1', 'Tenants'), PoolNetwork(uuid, 'xapi2', 'Twins'),
            PoolNetwork(uuid, 'br-lab', 'Twins')]
    found = check_text('version: 1\nnetworks:\n  Tenants: {}\n  br-lab: {}\n  Twins: {}\n'
                       '  tenant: {}\n  xapi9: {}\n', 'x.yaml', pool)
    assert [error.line for error in found.errors] == [5, 6] and not found.warnings
    assert 'is the name-label of 2 networks' in found.errors[0].text
    assert 'is neither a bridge of this host nor a name-label' in found.errors[1].text


def test_nothing_to_say() -> None:
    assert remarks('''version: 1
networks:
  xapi3:
    subnets: [10.9.0.0/24, "fd00:9::/64"]
    gateways: [{ipv4: 10.9.0.254, ipv6: "fd00:9::1", mac: "00:00:5e:00:01:01"}]
    dhcp_servers: [10.9.0.2, "fe80::1"]
  5C9A7D0C-0000-0000-0000-000000000001: {default: isolated}
  "*": {default: locked}
groups:
  red: {reach: [blue], rules: [icmp], addresses: [10.1.0.0/16]}
  blue: {reach: [red], vms: [5c9a7d0c-0000-0000-0000-000000000001]}
''') == ([], [])


def test_the_command(root, tmp_path, monkeypatch) -> None:
    assert 'there is none: the defaults apply' in xsisolate('check').out
    good, bad = tmp_path / 'good.yaml', tmp_path / 'b\nad.yaml'
    good.write_text('version: 1\ngrace: 0\n'), bad.write_text('version: 1\nx: 1\ngrace: -1\n')
    said = xsisolate('check', str(good))
    assert said.lines[0].startswith('%s:2: warning: grace: 0' % good)
    assert said.lines[1:] == ['%s: valid, 1 warning' % good]
    said = xsisolate('check', str(bad), code=BROKEN)
    assert len(said.lines) == 3 and '\nad' not in said.out and said.lines[2].endswith('2 errors')
    found = xsisolate('check', '--json', str(bad), code=BROKEN).json
    assert [error['line'] for error in found['errors']] == [2, 3] and not found['warnings']
    assert 'cannot be read' in xsisolate('check', str(tmp_path / 'none'), code=BROKEN).err
    monkeypatch.setattr(sys, 'stdin', io.StringIO('version: 1'))
    assert xsisolate('check', '-').out == '-: valid\n'
    (tmp_path / 'binary').write_bytes(b'version: 1\n\xff')
    assert ':2: is not UTF-8' in xsisolate('check', str(tmp_path / 'binary'), code=BROKEN).err


def test_the_hosts_own_file(root) -> None:
    (root / 'etc/xsisolate').mkdir(parents=True)
    (root / 'etc/xsisolate/xsisolate.yaml').write_text('version: 1\nunsealed: maybe\n')
    said = xsisolate('check', code=BROKEN)
    assert "xsisolate.yaml:2: error: unsealed: 'maybe' is not a value of unsealed" in said.out
