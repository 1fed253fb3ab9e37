"""xsisolate.yaml: what it means, what is refused in which line; the compiled copy."""
import json
import os
import stat
import subprocess
import sys

import pytest
from xsisolate.config.load import load_config, parse_config
from xsisolate.errors import ConfigError
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.model import Config, Gateway, Group, Holder, Mode, Network, Service

VM = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77'

CONTRACT = """\
version: 1
unsealed: quarantine          # or: accept
grace: 10                     # seconds
networks:
  xapi3:
    default: unlocked
    subnets: [10.9.0.0/24, fd00:9::/64]
    gateways:
      - {ipv4: 10.9.0.254, ipv6: fd00:9::1, mac: "00:00:5e:00:01:01"}
    dhcp_servers: []
groups:
  red:
    addresses: [10.9.0.40, 10.9.1.0/28]
    vms: []
    rules: [tcp/22, tcp/443, icmp, icmp6]
    reach: []
"""


def prefixes(*texts):
    return frozenset(map(parse_prefix, texts))


CONTRACT_CONFIG = Config(
    networks={'xapi3': Network(
        subnets=prefixes('10.9.0.0/24', 'fd00:9::/64'),
        gateways=(Gateway(parse_prefix('10.9.0.254'), parse_prefix('fd00:9::1'),
                          '00:00:5e:00:01:01'),))},
    groups={'red': Group(
        addresses=prefixes('10.9.0.40', '10.9.1.0/28'), vms=frozenset(),
        rules=frozenset([Service('tcp', 22, 22), Service('tcp', 443, 443),
                         Service('icmp'), Service('icmp6')]))})


@pytest.mark.parametrize('body, config', [
    pytest.param('', Config(), id='version alone'),
    pytest.param('unsealed: accept', Config(accept_unsealed=True), id='accept'),
    pytest.param('grace: 0', Config(grace=0), id='no grace'),
    pytest.param('networks: {a: {fail_closed: true}}',
                 Config(networks={'a': Network(fail_closed=True)}), id='fail closed'),
    pytest.param('networks: {a: {fail_closed: false}}', Config(networks={'a': Network()}),
                 id='not closed'),
    pytest.param('grace: 120', Config(grace=120), id='most grace'),
    pytest.param('networks: {}\ngroups: {}', Config(), id='empty mappings'),
    pytest.param("networks: {'*': {default: isolated}}",
                 Config(networks={'*': Network(default=Mode.ISOLATED)}),
                 id='all others'),
    pytest.param('networks: {%s: {}}' % VM.upper(), Config(networks={VM: Network()}),
                 id='uuid in lower case'),
    pytest.param('networks: {Pool-wide network 0: {}}',
                 Config(networks={'Pool-wide network 0': Network()}), id='name-label'),
    pytest.param('networks: {x: {gateways: [{vm: %s, devid: 1, ipv4: 10.9.0.1}], '
                 'dhcp_servers: [10.9.0.2, {vm: %s, devid: 0}]}}' % (VM.upper(), VM),
                 Config(networks={'x': Network(dhcp_servers=prefixes('10.9.0.2'), holders=(
                     Holder(VM, '1', frozenset(['gateway', 'router']), prefixes('10.9.0.1')),
                     Holder(VM, '0', frozenset(['dhcp']))))}),
                 id='VIFs that hold roles'),
    pytest.param('networks: {x: {gateways: [{ipv6: "fe80::1"}]}}',
                 Config(networks={'x': Network(
                     gateways=(Gateway(ipv6=parse_prefix('fe80::1')),))}),
                 id='IPv6 only'),
    pytest.param('networks: {x: {dhcp_servers: [10.0.0.1, fd00::1]}}',
                 Config(networks={'x': Network(
                     dhcp_servers=prefixes('10.0.0.1', 'fd00::1'))}),
                 id='DHCP servers'),
    pytest.param('groups: {red: {}}', Config(groups={'red': Group()}),
                 id='bare group'),
    pytest.param('groups: {red: {rules: []}}',
                 Config(groups={'red': Group(rules=frozenset())}), id='nothing to say'),
    pytest.param('groups: {red: {vms: [%s]}}' % VM.upper(),
                 Config(groups={'red': Group(vms=frozenset([VM]))}), id='a roster'),
    pytest.param('groups: {red: {reach: [blue]}, blue: {}}',
                 Config(groups={'red': Group(reach=frozenset(['blue'])),
                                'blue': Group()}), id='reach a later group'),
    pytest.param("groups: {'no': {rules: ['out:udp/53', 'in:everything']}}",
                 Config(groups={'no': Group(rules=frozenset([
                     Service('udp', 53, 53, 'out'), Service('*', direction='in')]))}),
                 id='directions'),
    pytest.param("groups: {'no': {rules: [udp/53, tcp, udp/8000-8100]}}",
                 Config(groups={'no': Group(rules=frozenset([
                     Service('udp', 53, 53), Service('tcp', 0, 65535),
                     Service('udp', 8000, 8100)]))}), id='quoted no'),
])
def test_config_is_understood(body, config):
    assert parse_config('version: 1\n' + body, 'test.yaml') == config


def test_the_contracts_example():
    assert parse_config(CONTRACT, 'test.yaml') == CONTRACT_CONFIG


@pytest.mark.parametrize('text, said', [
    pytest.param('', '1: the file is empty', id='empty'),
    pytest.param('# nothing\n', '1: the file is empty', id='only comments'),
    pytest.param('grace: 1', '1: has no version: write version: 1', id='no version'),
    pytest.param('version: 2\nnew: 1', '1: version: ', id='later version'),
    pytest.param('version: "1"', '1: version: ', id='version as text'),
    pytest.param('[version]', '1: is a list, expected a mapping', id='list on top'),
    pytest.param('version', '1: is str, expected a mapping', id='text on top'),
    pytest.param('version: 1\n---\nversion: 1', '2: expected a single document',
                 id='two documents'),
    pytest.param('version: 1\n\tgrace: 1', '2: while scanning', id='tab'),
    pytest.param('version: 1\ngroups: {', '2: while parsing', id='broken'),
    pytest.param('version: 1\ngroups:\n  \x07: {}', r"3: unacceptable character '\x07'",
                 id='bell'),
    pytest.param('version: 1\n!!python/object:os.x y: 1',
                 '2: YAML reads', id='python tag'),
    pytest.param('version: 1\ngroups: !g%0Ah x', r"2: groups: is '!g\nh', expected",
                 id='newline in a tag'),
])
def test_file_is_refused(text, said):
    assert refusal(text).startswith('test.yaml:' + said)


@pytest.mark.parametrize('body, said', [
    pytest.param('\nsealed: accept', '3: sealed: unknown key (expected grace, groups, '
                 'guard, local, networks, permissive, unsealed, version)', id='unknown key'),
    pytest.param('version: 1', '2: version: is written twice, first in line 1',
                 id='twice'),
    pytest.param('unsealed: yes', "2: unsealed: YAML reads 'yes' as bool", id='yes'),
    pytest.param('unsealed: trust', "2: unsealed: 'trust' is not a value",
                 id='no answer'),
    pytest.param('grace: -1', '2: grace: ', id='negative'),
    pytest.param('networks: {a: {fail_closed: yes}}', "2: networks.a.fail_closed: 'yes' is "
                 'neither true nor false', id='yes'),
    pytest.param('networks: {a: {fail_closed: "true"}}', '2: networks.a.fail_closed: ',
                 id='true as text'),
    pytest.param('grace: 121', "2: grace: '121' is not a whole number from 0 to 120",
                 id='too long'),
    pytest.param('grace: 010', '2: grace: ', id='octal'),
    pytest.param('grace: 1:30', '2: grace: ', id='sexagesimal'),
    pytest.param('grace: 1_0', '2: grace: ', id='underscore'),
    pytest.param('grace: 10.0', '2: grace: ', id='fraction'),
    pytest.param('grace: "10"', '2: grace: ', id='number as text'),
    pytest.param('grace:', '2: grace: is null', id='nothing'),
    pytest.param('networks:', '2: networks: is null, expected a mapping', id='null'),
    pytest.param('networks: []', '2: networks: is a list', id='list of networks'),
    pytest.param('networks:\n  "": {}', "3: networks.'': has no name", id='no name'),
    pytest.param('networks:\n  x:\n    subnet: []', '4: networks.x.subnet: unknown key',
                 id='unknown network key'),
    pytest.param('networks:\n  x:\n    default: isolatd',
                 "4: networks.x.default: 'isolatd' is not a mode (unlocked, locked, "
                 'isolated, disabled)', id='no mode'),
    pytest.param('networks:\n  x:\n    default: quarantined',
                 '4: networks.x.default: ', id='quarantine is no default'),
    pytest.param('networks:\n  %s: {}\n  %s: {}' % (VM, VM.upper()),
                 '4: networks.0D9B3F4E-8A4F-2C61-1C5B-6F2F5A3F8C77: is written twice',
                 id='one uuid twice'),
    pytest.param('networks:\n  x: {subnets: [10.9.0.0/24,\n    10.9.0.1/24]}',
                 "4: networks.x.subnets[1]: '10.9.0.1/24' has host bits set",
                 id='host bits'),
    pytest.param('networks: {x: {subnets: [10.9]}}',
                 "2: networks.x.subnets[0]: YAML reads '10.9' as float", id='fraction'),
    pytest.param('networks: {x: {subnets: 10.9.0.0/24}}',
                 '2: networks.x.subnets: is str, expected a list', id='no list'),
    pytest.param('networks:\n  x:\n    subnets:\n    - fd00::',
                 '5: networks.x.subnets[0]: is a mapping, expected a value',
                 id='colon at the end'),
    pytest.param('networks: {x: {gateways: [{vm: %s}]}}' % VM,
                 '2: networks.x.gateways[0]: needs devid', id='no device'),
    pytest.param('networks: {x: {gateways: [{vm: web, devid: 0}]}}',
                 '2: networks.x.gateways[0].vm: ', id='no uuid'),
    pytest.param('networks: {x: {dhcp_servers: [{vm: %s, devid: -1}]}}' % VM,
                 '2: networks.x.dhcp_servers[0].devid: ', id='no device number'),
    pytest.param('networks: {x: {dhcp_servers: [{vm: %s, devid: 0, mac: "00:16:3e:01:02:03"}]}}'
                 % VM, '2: networks.x.dhcp_servers[0].mac: unknown key', id='a MAC beside a VM'),
    pytest.param('networks: {x: {gateways: [{mac: "00:16:3e:01:02:03"}]}}',
                 '2: networks.x.gateways[0]: a gateway needs ipv4 or ipv6',
                 id='gateway without address'),
    pytest.param('networks: {x: {gateways: [{ipv4: 10.0.0.1,'
                 ' mac: 52:54:00:12:34:56}]}}',
                 "2: networks.x.gateways[0].mac: YAML reads '52:54:00:12:34:56' as int",
                 id='sexagesimal MAC'),
    pytest.param('networks: {x: {gateways: [{ipv4: 10.0.0.1, mac: "01:00:5e:0:0:1"}]}}',
                 '2: networks.x.gateways[0].mac: ', id='no MAC'),
    pytest.param('networks: {x: {gateways: [{ipv4: 10.0.0.0/24}]}}',
                 '2: networks.x.gateways[0].ipv4: ', id='gateway network'),
    pytest.param('networks: {x: {gateways: [{ipv4: fd00::1}]}}',
                 '2: networks.x.gateways[0].ipv4: ', id='gateway in the other family'),
    pytest.param('networks: {x: {dhcp_servers: [10.0.0.0/24]}}',
                 '2: networks.x.dhcp_servers[0]: ', id='DHCP network'),
    pytest.param('groups:\n  no: {}', "3: groups: YAML reads 'no' as bool",
                 id='group no'),
    pytest.param('groups:\n  12: {}', "3: groups: YAML reads '12' as int",
                 id='group 12'),
    pytest.param('groups:\n  2001-01-01: {}', '3: groups: YAML reads', id='group date'),
    pytest.param('groups:\n  Red: {}', "3: groups.Red: 'Red' is not a group name",
                 id='group name'),
    pytest.param('groups:\n  red:\n  blue: {}', '3: groups.red: is null',
                 id='group without mapping'),
    pytest.param('groups:\n  red: {}\n  red: {}',
                 '4: groups.red: is written twice, first in line 3', id='group twice'),
    pytest.param('groups:\n  red: {rule: []}', '3: groups.red.rule: unknown key',
                 id='unknown group key'),
    pytest.param('groups: {red: {vms: [web]}}', "2: groups.red.vms[0]: 'web' is not a VM",
                 id='no uuid'),
    pytest.param('groups: {red: {vms: }}', '2: groups.red.vms: is null',
                 id='null roster'),
    pytest.param('groups: {red: {rules: [tcp/0]}}', '2: groups.red.rules[0]: ',
                 id='port 0'),
    pytest.param('groups: {red: {rules: [22]}}', '2: groups.red.rules[0]: YAML reads',
                 id='bare port'),
    pytest.param('groups: {red: {rules: [[tcp/22]]}}',
                 '2: groups.red.rules[0]: is a list', id='list in list'),
    pytest.param('groups: {red: {addresses: [224.0.0.1]}}',
                 '2: groups.red.addresses[0]: ', id='multicast member'),
    pytest.param('groups:\n  red:\n    reach: [bleu]\n  blue: {}',
                 "4: groups.red.reach[0]: 'bleu' is not a group of this file",
                 id='reach nobody'),
    pytest.param('groups:\n  red: &r {}\n  blue: *r', '4: aliases are not supported',
                 id='alias'),
    pytest.param('groups:\n  red: &r {}\n  blue: {<<: *r}', '4: aliases are not',
                 id='merge'),
    pytest.param('groups: {<<: {red: {}}}', "2: groups: YAML reads '<<' as merge",
                 id='merge without alias'),
    pytest.param('groups: &g {red: *g}', '2: aliases are not', id='endless'),
    pytest.param('groups: ' + '[' * 5000, '2: is nested too deeply', id='deep'),
    pytest.param('groups: {? {a: b} : c}', '2: groups: is a mapping',
                 id='mapping as key'),
    pytest.param('groups: {"a\\nb\\e": {}}', r"2: groups.'a\nb\x1b': ",
                 id='control key'),
    pytest.param(r'groups: {"\UFFFFFFFF": {}}', '2: unacceptable',
                 id='no such character'),
])
def test_config_is_refused(body, said):
    assert refusal('version: 1\n' + body).startswith('test.yaml:' + said)


def refusal(text):
    with pytest.raises(ConfigError) as refused:
        parse_config(text, 'test.yaml')
    said = str(refused.value)
    assert said.isprintable() and said.encode('ascii') and len(said) < 500
    return said


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host's root folder with an empty /etc/xsisolate."""
    monkeypatch.setenv('XSISOLATE_ROOT', str(tmp_path))
    (tmp_path / 'etc/xsisolate').mkdir(parents=True)
    return tmp_path


def yaml_file(host):
    return host / 'etc/xsisolate/xsisolate.yaml'


def compiled_file(host):
    return host / 'run/xsisolate/config.json'


def write(host, text=CONTRACT):
    yaml_file(host).write_bytes(text.encode('utf-8'))


@pytest.fixture
def no_parser(monkeypatch):
    """From now on the YAML text cannot be parsed: only the copy can answer."""
    def forbid():
        monkeypatch.setattr('xsisolate.config.load.parse_config', None)
    return forbid


def test_no_file_means_the_defaults(host):
    assert load_config() == Config()
    assert not compiled_file(host).exists()


def test_the_copy_equals_the_file(host, no_parser):
    write(host)
    assert load_config() == CONTRACT_CONFIG
    no_parser()
    assert load_config() == CONTRACT_CONFIG


def test_the_copy_is_private_and_alone(host):
    write(host)
    load_config()
    assert stat.S_IMODE(compiled_file(host).stat().st_mode) == 0o600
    assert os.listdir(str(compiled_file(host).parent)) == ['config.json']


def test_a_change_of_the_file_is_seen(host):
    write(host, 'version: 1\ngrace: 10\n')
    assert load_config().grace == 10
    write(host, 'version: 1\ngrace: 100\n')
    assert load_config().grace == 100


def test_a_change_in_place_of_the_same_size_is_seen(host):
    write(host, 'version: 1\ngrace: 10\n')
    assert load_config().grace == 10
    write(host, 'version: 1\ngrace: 20\n')
    os.utime(str(yaml_file(host)), (1, 1))
    assert load_config().grace == 20


def test_an_older_file_of_the_same_size_is_seen(host):
    write(host, 'version: 1\ngrace: 10\n')
    assert load_config().grace == 10
    other = host / 'other'
    other.write_text('version: 1\ngrace: 20\n')
    os.utime(str(other), (1, 1))
    other.rename(yaml_file(host))
    assert load_config().grace == 20


def test_the_same_times_and_size_in_another_file_are_seen(host):
    write(host, 'version: 1\ngrace: 10\n')
    assert load_config().grace == 10
    status = yaml_file(host).stat()
    other = host / 'other'
    other.write_text('version: 1\ngrace: 20\n')
    os.utime(str(other), ns=(status.st_mtime_ns, status.st_mtime_ns))
    other.rename(yaml_file(host))
    assert load_config().grace == 20


def test_a_removed_file_means_the_defaults(host):
    write(host, 'version: 1\ngrace: 100\n')
    load_config()
    yaml_file(host).unlink()
    assert load_config() == Config()


def stamp_only(copy):
    return json.dumps({'stamp': json.loads(copy)['stamp']})


def without_roster(copy):
    data = json.loads(copy)
    del data['config']['Config']['groups']['dict']['red']['Group']['vms']
    return json.dumps(data)


def test_the_copy_of_another_release_is_not_used(host, monkeypatch):
    write(host, 'version: 1\ngrace: 10\n')
    load_config()
    copy = compiled_file(host).read_text().replace('"grace": 10', '"grace": 11')
    compiled_file(host).write_text(copy)
    assert load_config().grace == 11
    monkeypatch.setattr('xsisolate.config.load.__version__', '9.9')
    monkeypatch.setattr('xsisolate.config.compiled.__version__', '9.9')
    assert load_config().grace == 10


@pytest.mark.parametrize('damage', [
    pytest.param(lambda copy: '', id='empty'),
    pytest.param(lambda copy: copy[:len(copy) // 2], id='cut off'),
    pytest.param(lambda copy: '[]', id='a list'),
    pytest.param(lambda copy: '{}', id='no stamp'),
    pytest.param(stamp_only, id='no config'),
    pytest.param(without_roster, id='a field is missing'),
    pytest.param(lambda copy: copy.replace('"networks": {', '"networks": 1, "x": {'),
                 id='wrong type'),
    pytest.param(lambda copy: '\0\xff', id='not ASCII'),
])
def test_a_damaged_copy_is_replaced(host, no_parser, damage):
    write(host)
    load_config()
    copy = compiled_file(host).read_text()
    compiled_file(host).write_bytes(damage(copy).encode('latin-1'))
    assert load_config() == CONTRACT_CONFIG
    assert compiled_file(host).read_text() == copy
    no_parser()
    assert load_config() == CONTRACT_CONFIG


def test_a_copy_that_cannot_be_written_is_done_without(host):
    write(host)
    (host / 'run').write_text('a file where a folder should be')
    assert load_config() == CONTRACT_CONFIG
    assert load_config() == CONTRACT_CONFIG


def test_a_full_disk_leaves_no_half_copy(host, monkeypatch):
    def full(path, text):
        with open(path, 'w') as file:
            file.write(text[:9])
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr('xsisolate.config.compiled._write_private', full)
    write(host)
    assert load_config() == CONTRACT_CONFIG
    assert os.listdir(str(compiled_file(host).parent)) == []


def test_a_copy_in_the_way_is_done_without(host):
    write(host)
    (compiled_file(host) / 'full').mkdir(parents=True)
    assert load_config() == CONTRACT_CONFIG
    assert os.listdir(str(compiled_file(host).parent)) == ['config.json']


def test_errors_name_the_file(host):
    write(host, 'version: 1\n\ngrace: never\n')
    with pytest.raises(ConfigError) as refused:
        load_config()
    assert str(refused.value).startswith('%s:3: grace: ' % yaml_file(host))
    assert not compiled_file(host).exists()


@pytest.mark.parametrize('data, said', [
    pytest.param(b'version: 1\n# caf\xe9\n', ':2: is not UTF-8', id='latin-1'),
    pytest.param(b'#' * (1 << 20) + b'\n', ': has more than 1048576 bytes',
                 id='too big'),
])
def test_bytes_that_are_no_text(host, data, said):
    yaml_file(host).write_bytes(data)
    with pytest.raises(ConfigError) as refused:
        load_config()
    assert str(refused.value) == str(yaml_file(host)) + said


def test_comments_may_be_in_any_language(host):
    write(host, 'version: 1   # caf\xe9 \u2713\n')
    assert load_config() == Config()


def test_a_folder_instead_of_the_file(host):
    yaml_file(host).mkdir()
    with pytest.raises(ConfigError) as refused:
        load_config()
    assert 'cannot be read' in str(refused.value)


def run_python(code):
    done = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE,
                          env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
                          check=True, encoding='ascii')
    return done.stdout


def modules_after_load():
    return set(run_python(
        'import sys; from xsisolate.config.load import load_config; load_config(); '
        'print(*sorted(sys.modules))').split())


def test_the_fast_path_imports_little(host):
    write(host)
    assert 'yaml' in modules_after_load()
    heavy = {'yaml', 'ipaddress', 'socket', 'subprocess', 'logging', 'xsisolate.config.schema'}
    assert not heavy & modules_after_load()


def test_without_pyyaml_the_error_says_so(host):
    write(host)
    said = run_python(
        "import sys; sys.modules['yaml'] = None\n"
        'from xsisolate.config.load import load_config\n'
        'try: load_config()\n'
        'except Exception as error: print(type(error).__name__, error)')
    assert said.startswith('ConfigError ') and 'cannot be read without PyYAML' in said
