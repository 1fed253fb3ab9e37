"""The plugin, called as XAPI calls it: strings in, JSON out, failures with codes."""
import json
import os
import xmlrpc.client
from typing import Any, Dict

import pytest

from sandbox.pool import Pool
from sandbox.xapidb import Refused

from support.xapi_admin import Admin, data

FUNCTIONS = ('activate', 'bridges', 'config_check', 'config_push', 'config_show', 'config_state',
             'deactivate',
             'doctor', 'explain', 'groups', 'matrix', 'metrics', 'overview', 'refresh', 'refused',
             'status', 'sync')


def ask(pool: Pool, fn: str, host: int = 0, **args: str) -> Any:
    """Call a function of the plugin on a host."""
    return json.loads(pool.call_plugin(pool.refs[pool.hosts[host].name], 'xsisolate', fn, 'session',
                                       args))


def refused(pool: Pool, fn: str, **args: str) -> Any:
    """Call a function that must fail; return the code and the line."""
    with pytest.raises(Refused) as found:
        ask(pool, fn, **args)
    code, line = found.value.details
    assert line.isprintable() and 'Traceback' not in line
    return code, line


def test_refresh_tells_what_each_vif_does(pool: Pool, admin: Admin) -> None:
    web = pool.start_vm('web', pool.hosts[0], 11, vifs=2)
    admin.fine('set', 'web/0', '--groups', 'red', '--ipv4', '10.9.0.11')
    told = ask(pool, 'refresh', vm=web.uuid.upper())
    assert told['vm'] == web.uuid
    first, second = told['vifs']
    assert (first['device'], first['mode'], first['groups'], first['seal'], first['applied']) == (
        '0', 'isolated', ['red'], 'sealed', True)
    assert (second['device'], second['mode'], second['seal']) == ('1', 'unlocked', 'none')
    assert first['vif'].endswith('.0') and first['bridge'] == 'xenbr0' and not first['error']


def test_refresh_waits_for_seals(pool: Pool) -> None:
    """They come to xenopsd a moment after they were written; and not at all if nobody writes."""
    web = pool.start_vm('web', pool.hosts[0], 11)
    told = ask(pool, 'refresh', vm=web.uuid, seals='{"0": "1:%s"}' % ('0' * 64), wait='0.3')
    assert told['vifs'][0]['seal'] == 'none'


def test_refresh_does_not_touch_what_is_in_doubt(pool: Pool, admin: Admin) -> None:
    web = pool.add_vm('web', 11)
    admin.fine('set', 'web', '--groups', 'red', '--ipv4', '10.9.0.11')
    pool.start(web, pool.hosts[0])
    flows = pool.hosts[0].call('flows')
    pool.guest_writes(web, 'vm-data/xsisolate/groups', 'blue')
    told = ask(pool, 'refresh', vm=web.uuid)['vifs'][0]
    assert told['seal'] == 'changed' and not told['applied'] and 'xsisolate-seal' in told['error']
    assert pool.hosts[0].call('flows') == flows


def test_a_vm_that_is_not_here(pool: Pool) -> None:
    web = pool.start_vm('web', pool.hosts[1], 11)
    code, line = refused(pool, 'refresh', vm=web.uuid)
    assert code == 'XSISOLATE_NOT_HERE' and web.uuid in line


def test_sync(pool: Pool, admin: Admin) -> None:
    pool.start_vm('web', pool.hosts[0], 11)
    admin.fine('set', 'web', '--groups', 'red', '--ipv4', '10.9.0.11')
    before = pool.hosts[0].call('flows')
    pool.hosts[0].call('ovs', 'ofctl', 'del-flows', 'xenbr0', 'cookie=0x5849534f00000000/'
                       '0xffffffff00000000')
    told = ask(pool, 'sync', dry_run='true')
    assert told[0]['bridge'] == 'xenbr0' and len(told[0]['missing']) > 100
    assert pool.hosts[0].call('flows') != before
    assert not ask(pool, 'sync', bridge='xenbr0')[0]['error']
    assert sorted(pool.hosts[0].call('flows')) == sorted(before)
    assert not ask(pool, 'sync', dry_run='True')[0]['missing']


def test_status_and_explain_say_what_the_commands_say(pool: Pool, admin: Admin) -> None:
    for name, number in (('web', 11), ('db', 12)):
        vm = pool.start_vm(name, pool.hosts[1], number)
        admin.fine('set', name, '--groups', 'red', '--ipv4', vm.ipv4)
    told = ask(pool, 'status', 1)
    assert {vif['name'] for vif in told['vifs']} == {'web', 'db'}
    said = admin.fine('status', '--json', host=pool.hosts[1]).json
    for vif in told['vifs'] + said['vifs']:     # which go up while a guest looks for its neighbours
        assert vif.pop('spoofed') + vif.pop('isolated') >= 0
    assert told == said
    assert [vif['name'] for vif in ask(pool, 'status', 1, vm='web')['vifs']] == ['web']
    told = ask(pool, 'explain', 1, source='web', destination='db', service='tcp/22')
    assert told['reaches'] and told == admin.fine('explain', 'web', 'db', 'tcp/22', '--json',
                                                  host=pool.hosts[1]).json
    code, line = refused(pool, 'explain', source='web', destination='nobody')
    assert code == 'XSISOLATE_USAGE' and line.startswith('no VM of this host')
    assert refused(pool, 'status', vm='--help')[0] == 'XSISOLATE_USAGE'


def test_refused_and_metrics(pool: Pool, admin: Admin) -> None:
    """What a VM is refused, as the command has it; metrics are OpenMetrics' text and not JSON."""
    web, free = (pool.start_vm(name, pool.hosts[0], number)
                 for name, number in (('web', 11), ('free', 12)))
    admin.fine('set', 'web', '--groups', 'red', '--ipv4', '10.9.0.11')
    pool.ask(web, 'ping', free.ipv4, 0.2)
    row, = [row for row in ask(pool, 'refused', vm=web.uuid, since='5m')['refused']
            if row['service'] == 'arp']
    assert (row['vm'], row['reason'], row['source']['name']) == (
        web.uuid, 'not a peer on egress', 'web')
    text = pool.call_plugin(pool.refs[pool.hosts[0].name], 'xsisolate', 'metrics', 'session', {})
    assert text.startswith('# HELP') and text.endswith('# EOF\n')
    assert 'xsisolate_vif_refused_frames_total{vm="%s",name="web",device="0"' % web.uuid in text


def test_groups(pool: Pool, admin: Admin) -> None:
    web = pool.start_vm('web', pool.hosts[0], 11)
    admin.fine('set', 'web', '--groups', 'red')
    told = ask(pool, 'groups')
    assert [one['vm'] for one in told['groups']['red']['here']] == [web.uuid]


@pytest.mark.parametrize('fn, args', [
    ('refresh', {}), ('refresh', {'vm': ''}), ('refresh', {'vm': 'x', 'nonsense': '1'}),
    ('refresh', {'vm': 'x', 'seals': '['}), ('refresh', {'vm': 'x', 'seals': '[1]'}),
    ('refresh', {'vm': 'x', 'seals': '{"0": 1}'}), ('refresh', {'vm': 'x', 'wait': 'nan'}),
    ('refresh', {'vm': 'x', 'wait': '-1'}), ('sync', {'dry_run': 'perhaps'}),
    ('groups', {'x': 'y'}), ('refused', {'since': 'soon'}), ('refused', {'vm': 'nosuch'}),
    ('metrics', {'vm': 'web'}), ('explain', {'source': 'a'}), ('status', {'v\nm': 'a'})])
def test_arguments_that_are_wrong(pool: Pool, fn: str, args: Dict[str, str]) -> None:
    code, line = refused(pool, fn, **args)
    assert code == 'XSISOLATE_USAGE'


@pytest.mark.parametrize('vm', ['../../x', 'x' * 5000, 'a\nb', 'web', '--help', '/'])
def test_a_vm_that_is_nonsense(pool: Pool, vm: str) -> None:
    assert refused(pool, 'refresh', vm=vm)[0] == 'XSISOLATE_USAGE'


def test_an_unknown_function(pool: Pool) -> None:
    with pytest.raises(Refused) as found:
        ask(pool, 'fly')
    assert found.value.details[0] == 'UNKNOWN_XENAPI_PLUGIN_FUNCTION'


def test_a_host_that_fails(pool: Pool) -> None:
    host = pool.hosts[0]
    host.execute(['mv', '/run/openvswitch/db.sock', '/run/openvswitch/away'])
    try:
        code, line = refused(pool, 'groups')
    finally:
        host.execute(['mv', '/run/openvswitch/away', '/run/openvswitch/db.sock'])
    assert code == 'XSISOLATE_FAILED' and 'db.sock' in line


def test_nothing_but_the_answer_on_stdout(pool: Pool, admin: Admin) -> None:
    """XAPI reads it: a line of a log would break the answer."""
    web = pool.start_vm('web', pool.hosts[0], 11)
    pool.db.set('VM', web.ref, xenstore_data=data(groups='red'))
    host = pool.hosts[0]
    for fn, args in (('refresh', {'vm': web.uuid}), ('sync', {}), ('groups', {})):
        done = host.execute([host.python, '/etc/xapi.d/plugins/xsisolate',
                             xmlrpc.client.dumps(('OpaqueRef:x', args), fn)])
        assert done.returncode == 0 and done.stdout.startswith('<?xml'), done
        assert xmlrpc.client.loads(done.stdout)[0][0]['Status'] == 'Success'    # type: ignore


def test_what_a_library_prints_is_no_answer(capsys: Any) -> None:
    from xsisolate.xapi_plugin import dispatch

    def speak(arguments: Any) -> int:
        print('a line of a library')
        return len(arguments)
    assert dispatch._guarded('speak', speak, Refused)(None, {}) == '0'
    said = capsys.readouterr()
    assert not said.out and 'a line' in said.err


def test_the_doorbell() -> None:
    from sandbox.hooks import REPOSITORY
    path = os.path.join(REPOSITORY, 'rpm', 'plugin', 'xsisolate')
    assert os.access(path, os.X_OK)
    with open(path, encoding='utf-8') as file:
        assert len(file.read().splitlines()) <= 16
    from xsisolate.xapi_plugin import dispatch
    assert sorted(dispatch.FUNCTIONS) == sorted(FUNCTIONS)
