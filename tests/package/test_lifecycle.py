"""What rpm and an admin do, one after the other, under VMs that run."""
import json
import os
import re
import subprocess
import xmlrpc.client
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Set

import pytest

from support.installed_dom0 import (HOST_UUID, OUR_COOKIE, OURS, STANDIN, STOCK, Answering, Dom0,
                                    start_vm)
from sandbox.hooks import REPOSITORY
from sandbox.process import run, wait_until
from support.package_root import build_spec, read

ONE, TWO = '/packages/xsisolate-0.1.0-1.noarch.rpm', '/packages/xsisolate-0.1.0-2.noarch.rpm'
UNITS = ('xsisolate-hooks.service', 'xsisolate-watch.service')
STOCK_COOKIE = 'cookie=1/-1'
SOON = 0.4          # so long is waited for an answer that must not come


def reached(dom0: Dom0) -> Set[str]:
    """Return who reaches whom, of those that matter."""
    red1, red2, blue, locked = dom0.host.vms[:4]
    found = set()
    for name, one, other in (('red-red', red1, red2), ('red-blue', red1, blue),
                             ('blue-red', blue, red2)):
        if one.ping(other.address(), SOON if name != 'red-red' else 3):
            found.add(name)
    locked.ip('addr add 10.9.0.99/24 dev eth0')
    if locked.ping(red1.address(), SOON, source='10.9.0.99'):
        found.add('spoofed')
    locked.ip('addr del 10.9.0.99/24 dev eth0')
    return found


def check_stock(dom0: Dom0, installed: bool = False, this_xenopsd: str = STOCK) -> None:
    """The stock hooks answer to everybody, and nothing of ours is on the switch."""
    assert dom0.answering() == Answering((STOCK,), (STOCK,), (this_xenopsd,), (STOCK,), ())
    assert not dom0.flows()
    locked = 'in_port=%d' % dom0.host.ovs.ofport('vif4.0')      # by XAPI
    assert len([flow for flow in dom0.flows(STOCK_COOKIE) if re.search(locked + '[, ]', flow)]) == 3
    assert reached(dom0) == {'red-red', 'red-blue', 'blue-red'}
    check_files(dom0, installed)


def check_ours(dom0: Dom0, this_xenopsd: str = OURS) -> None:
    """Our hooks answer, and packets pass as policies say."""
    assert dom0.answering() == Answering((OURS,), (OURS,), (this_xenopsd,), (OURS,), UNITS)
    assert dom0.flows() and not dom0.flows(STOCK_COOKIE)
    assert reached(dom0) == {'red-red'}
    dom0.xsisolate('sync', '--dry-run')
    check_files(dom0, True)


def check_files(dom0: Dom0, installed: bool) -> None:
    """Nobody's files are changed, and every new one is somebody's."""
    for name in ['xenopsd', 'xenopsd-xc'] + ['xsisolate'] * installed:
        assert not dom0.rpm('-V', name)
    assert (dom0.strays() if installed else dom0.changed()) == set()


def blips(dom0: Dom0) -> Dict[str, str]:
    """Return how often each VIF's link has changed, by netdev."""
    found = {}
    for vm in dom0.host.vms:
        for name in vm.netdevs(0):
            found[name] = read('/sys/class/net/%s/carrier_changes' % name)
    return found


@contextmanager
def changed(path: str, text: str) -> Iterator[None]:
    """Let a file say something else for a while, or be there."""
    before = read(path) if os.path.exists(path) else None
    times = (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns) if before else None
    with open(path, 'w') as file:
        file.write(text)
    try:
        yield
    finally:
        if before is None:
            os.unlink(path)
        else:
            with open(path, 'w') as file:
                file.write(before)
            os.utime(path, ns=times)


class Load(NamedTuple):
    """What was seen while something else went on."""

    hooks: List[int]        # exit codes of hooks that ran
    counts: List[int]       # how many flows of ours were there


HOOKS_LOOP = '''
while [ ! -e %(stop)s ]; do
    %(hook)s classic vif1.0 %(uuid)s 0 filter 2>>%(log)s; echo "hook $?" >> %(out)s
done'''
FLOWS_LOOP = '''
while [ ! -e %(stop)s ]; do
    n=$(ovs-ofctl -O OpenFlow14 dump-flows xenbr0 %(cookie)s | grep -c actions=)
    echo "flows $n" >> %(out)s
done'''


@contextmanager
def under_load(dom0: Dom0) -> Iterator[Load]:
    """Have hooks run and flows counted, again and again, while something else goes on."""
    vm = dom0.host.vms[0]
    words = {'stop': '/run/load.stop', 'out': '/run/load.out', 'log': '/run/load.log',
             'hook': OURS + '/setup-vif-rules', 'uuid': vm.uuid, 'cookie': OUR_COOKIE}
    loops = [subprocess.Popen(['bash', '-c', loop % words]) for loop in (HOOKS_LOOP, FLOWS_LOOP)]
    load = Load([], [])
    try:
        wait_until(lambda: os.path.exists('/run/load.out'), 'the load')
        yield load
    finally:
        open('/run/load.stop', 'w').close()
        for process in loops:
            process.wait(30)
        text = read('/run/load.out')
        load.hooks.extend(int(code) for code in re.findall('hook ([0-9]+)', text))
        load.counts.extend(int(count) for count in re.findall('flows ([0-9]+)', text))
        for name in ('stop', 'out', 'log'):
            os.unlink('/run/load.' + name)


@pytest.fixture(scope='module')
def sabotaged(moved: Dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a later release whose %pre fails."""
    top = str(tmp_path_factory.mktemp('top'))
    run(['rpm', '-i', '--define', '_topdir ' + top, '/packages/xsisolate-0.1.0-2.src.rpm'])
    spec = top + '/SPECS/xsisolate.spec'
    text = read(spec).replace('xsisolate_release 2', 'xsisolate_release 3')
    with open(spec, 'w') as file:
        file.write(text.replace('%post\n', '%pre\nexit 1\n\n%post\n'))
    built, = [path for path in build_spec(top, spec, '/packages')
              if os.path.basename(path).startswith('xsisolate-')]
    return built


def test_a_host_without_it(dom0: Dom0) -> None:
    check_stock(dom0)


def test_installing_changes_nothing_on_the_host(dom0: Dom0) -> None:
    said = dom0.rpm('-i', ONE)
    assert 'does nothing yet' in said
    check_stock(dom0, installed=True)
    assert not [line for line in dom0.calls() if 'start' in line or 'enable' in line]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(dom0: Dom0) -> None:
    unsealed = dom0.host.start_vm('unsealed', vm_data={'xsisolate/groups': 'gr\u00fcn'})
    said = dom0.xsisolate('activate', '--dry-run', code=4)
    assert '\n  QUARANTINE %s: ' % unsealed.netdev() in said      # better known beforehand
    unsealed.shutdown()
    said = dom0.xsisolate('activate', '--dry-run', code=4)
    assert 'QUARANTINE' not in said
    for words in ('write /etc/xenopsd.conf.d/50-xsisolate.conf', 'bridge xenbr0, 4 VIFs: add ',
                  'write /etc/udev/rules.d/zz-xsisolate.rules', 'xenstore keys of 4 plugged VIFs',
                  'remove the stock flows of vif4.0', 'start ' + ', '.join(UNITS)):
        assert words in said
    check_stock(dom0, installed=True)


@pytest.mark.parametrize('ha, tasks, words', [
    ('true', [], 'HA is enabled'),
    ('false', ['VM.start', 'Async.VM.migrate_send'], 'would lose 2 tasks (xe task-list)'),
    ('false', ['export of a, b and c'], 'would lose 1 tasks (xe task-list): export '
     'of a, b and c; wait until they have ended'),
    ('false', [''], 'would lose 1 tasks (xe task-list): 00000000-'),
    ('', [], '')], ids=['HA', 'tasks', 'task with commas', 'task without name', 'no XAPI'])
def test_what_a_restart_would_do_forbids_only_a_restart(dom0: Dom0, ha: str, tasks: Sequence[str],
                                                        words: str) -> None:
    dom0.answer(ha, tasks)
    if not words:
        os.unlink(STANDIN + '/ha')
    try:
        said = dom0.xsisolate('activate', '--restart-toolstack', code=1)
        warned = dom0.xsisolate('activate', '--dry-run', code=4)
    finally:
        dom0.answer()
    assert (words or 'XAPI does not say') in said and 'nothing was changed' in said
    assert 'xsisolate: warning: ' in warned and (words or 'XAPI does not say') in warned
    assert '--force' in said if tasks else '--force' not in said
    check_stock(dom0, installed=True)


OTHER = '11111111-2222-3333-4444-555555555555'


@pytest.mark.parametrize('tasks, elsewhere, master, words', [
    (['Connection to VM console'] * 2, [], HOST_UUID, 'may cut 2 connections to consoles'),
    ([], ['Export VM'], OTHER, ''), (['Connection to VM console'], ['Export VM'], OTHER,
                                     'may cut 1 connections to consoles')],
    ids=['consoles', 'tasks of another member', 'a console here, a task there'])
def test_what_a_restart_loses_not_forbids_nothing(
        dom0: Dom0, tasks: Sequence[str], elsewhere: Sequence[str], master: str,
        words: str) -> None:
    dom0.answer('false', tasks, elsewhere, master)
    try:
        said = dom0.xsisolate('activate', '--restart-toolstack', '--dry-run', code=4)
    finally:
        dom0.answer()
    assert words in said and 'lose' not in said and 'Export' not in said


def test_the_masters_restart_loses_the_tasks_of_all_members(dom0: Dom0) -> None:
    dom0.answer('false', [], ['Export VM'])
    try:
        said = dom0.xsisolate('activate', '--restart-toolstack', '--dry-run', code=1)
    finally:
        dom0.answer()
    assert 'would lose 1 tasks' in said and 'Export VM' in said
    check_stock(dom0, installed=True)


def test_force_is_for_a_restart_only_and_not_against_ha(dom0: Dom0) -> None:
    assert '--restart-toolstack' in dom0.xsisolate('activate', '--force', code=2)
    dom0.answer('true')
    try:
        said = dom0.xsisolate('activate', '--restart-toolstack', '--force', code=1)
    finally:
        dom0.answer()
    assert 'HA is enabled' in said
    check_stock(dom0, installed=True)


def test_a_broken_configuration_is_named_and_nothing_done(dom0: Dom0) -> None:
    with changed('/etc/xsisolate/xsisolate.yaml', 'version: 1\ngrace: soon\n'):
        said = dom0.xsisolate('activate', code=3)
    assert 'xsisolate.yaml:2' in said and 'nothing was changed' in said
    check_stock(dom0, installed=True)


def test_a_hook_that_cannot_run_is_named_and_nothing_done(dom0: Dom0) -> None:
    with changed(os.path.realpath(OURS + '/vif'), '#!/nowhere/python3\n'):
        assert 'our hook does not run: %s/vif' % OURS in dom0.xsisolate('activate', code=1)
    check_stock(dom0, installed=True)


def test_somebody_elses_hook_is_not_pushed_aside(dom0: Dom0) -> None:
    with changed('/etc/xenopsd.conf.d/90-other', 'setup-vif-rules=/usr/bin/true # theirs\n'):
        said = dom0.xsisolate('activate', code=1)
    assert '/usr/bin/true' in said and '/etc/xenopsd.conf.d/90-other:1' in said
    check_stock(dom0, installed=True)


CONFIGURATION = '/etc/xsisolate/xsisolate.yaml'
OWN_FILE = '# of this host alone\nversion: 1    # yes\nlocal: true\n'
PERMISSIVE_FILE = '# of this host alone\nversion: 1    # yes\npermissive: true\nlocal: true\n'


def test_permissive_is_written_before_anything_is_touched(dom0: Dom0) -> None:
    """And not where the pool's configuration may replace it, which only XAPI knows."""
    before = read(CONFIGURATION)
    said = dom0.xsisolate('activate', '--permissive', code=1)
    assert 'whether the pool has a configuration' in said and 'local: true' in said
    assert read(CONFIGURATION) == before
    with changed(CONFIGURATION, OWN_FILE):
        said = dom0.xsisolate('activate', '--permissive', '--dry-run', code=4)
        assert said.startswith('would write permissive: true into %s' % CONFIGURATION)
        assert read(CONFIGURATION) == OWN_FILE
        assert 'unrecognized' in dom0.xsisolate('deactivate', '--permissive', code=2)
    check_stock(dom0, installed=True)


def test_a_permissive_activation_that_fails_puts_the_file_back(dom0: Dom0) -> None:
    mode = os.stat(CONFIGURATION).st_mode & 0o7777
    with changed(CONFIGURATION, OWN_FILE):
        os.chmod(CONFIGURATION, 0o640)
        with changed('/usr/bin/systemctl',
                     '#!/bin/sh\n[ "$1" != start ] && [ "$2" != is-active ]\n'):
            said = dom0.xsisolate('activate', '--permissive', code=1)
        assert '1/' in said and 'nothing has changed after all' in said
        assert read(CONFIGURATION) == OWN_FILE
        assert os.stat(CONFIGURATION).st_mode & 0o7777 == 0o640
        os.chmod(CONFIGURATION, mode)
    check_stock(dom0, installed=True)


def test_activating_switches_plugged_vifs_over_without_a_blip(dom0: Dom0) -> None:
    links = blips(dom0)
    dom0.calls()
    dom0.answer(tasks=['Export VM'])
    said = dom0.xsisolate('activate')
    dom0.answer()
    assert 'warning: a restart of the toolstack would lose 1 tasks' in said
    assert 'The toolstack must be restarted' in said and 'xe-toolstack-restart' in said
    assert blips(dom0) == links
    calls = dom0.calls()
    assert 'xe-toolstack-restart' not in calls and 'udevadm control --reload' in calls
    check_ours(dom0, this_xenopsd=STOCK)


def test_activating_twice_does_nothing_more(dom0: Dom0) -> None:
    dom0.answer(ha='true')
    said = dom0.xsisolate('activate')
    assert 'nothing to do' in said and 'must be restarted' in said
    assert 'warning: HA is enabled' in said
    dom0.calls()
    assert 'HA is enabled' in dom0.xsisolate('activate', '--restart-toolstack', code=1)
    assert 'xe-toolstack-restart' not in dom0.calls()
    dom0.answer()
    assert dom0.xsisolate('activate', '--dry-run') == 'nothing to do: the hooks are taken over\n'


def test_what_is_active_becomes_permissive(dom0: Dom0) -> None:
    with changed(CONFIGURATION, OWN_FILE + 'networks: {xapi9: {permissive: false}}\n'):
        said = dom0.xsisolate('activate', '--permissive')
        assert 'write permissive: true into ' + CONFIGURATION in said
        assert 'networks.xapi9 says permissive: false, so its VIFs are enforced' in said
        assert read(CONFIGURATION).startswith(PERMISSIVE_FILE)
        assert reached(dom0) == {'red-red', 'red-blue', 'blue-red'}
        dom0.xsisolate('enforce', '--all')
        assert reached(dom0) == {'red-red'}
        dom0.xsisolate('activate', '--permissive')
        assert 'nothing to do' in dom0.xsisolate('activate', '--permissive', '--dry-run')
        planned = ask_plugin('activate', dry_run='true', permissive='true')
        assert not planned['steps']
    with changed(CONFIGURATION, OWN_FILE):
        planned = ask_plugin('activate', dry_run='true', permissive='true')
        assert planned['steps'][0].startswith('write permissive: true into ')
        assert ask_plugin('activate', permissive='true')['steps'] == planned['steps']
        assert read(CONFIGURATION) == PERMISSIVE_FILE
    dom0.xsisolate('sync')
    check_ours(dom0, this_xenopsd=STOCK)


def test_a_vif_plugged_before_the_restart_is_isolated_too(dom0: Dom0) -> None:
    """xenopsd writes the stock script into its key."""
    vm = start_vm(dom0.host, 13, 'red')
    assert dom0.answering().keys == (STOCK, OURS) or dom0.answering().keys == (OURS, STOCK)
    assert vm.ping('10.9.0.11') and not vm.ping('10.9.0.21', SOON)
    vm.shutdown()


def test_after_the_restart_everybody_calls_ours(dom0: Dom0) -> None:
    dom0.restart_toolstack()
    assert 'restarted' not in dom0.xsisolate('activate')
    check_ours(dom0)


def test_vifs_come_and_go(dom0: Dom0) -> None:
    vm = start_vm(dom0.host, 14, 'red', hvm=True)
    assert vm.ping('10.9.0.11') and not vm.ping('10.9.0.21', SOON)
    vm = vm.reboot()
    assert vm.ping('10.9.0.11')
    vm.shutdown()
    check_ours(dom0)


@pytest.mark.parametrize('package', [TWO, ONE, ONE], ids=['upgrade', 'downgrade', 'reinstall'])
def test_nobody_is_unprotected_while_the_package_changes(dom0: Dom0, package: str) -> None:
    links, flows = blips(dom0), set(dom0.flows())
    dom0.calls()
    with under_load(dom0) as load:
        dom0.rpm('-U', '--oldpackage', '--replacepkgs', package)
    assert load.hooks and set(load.hooks) == {0}, load.hooks
    assert load.counts and min(load.counts) >= len(flows)
    assert blips(dom0) == links and set(dom0.flows()) == flows
    assert 'systemctl try-restart ' + ' '.join(UNITS) in dom0.calls()
    release = package.split('-')[2].split('.')[0]
    assert os.listdir('/usr/share/xsisolate') in (['current', '0.1.0-' + release],
                                                 ['0.1.0-' + release, 'current'])
    check_ours(dom0)


def test_an_activation_that_fails_is_taken_back(dom0: Dom0) -> None:
    dom0.xsisolate('deactivate')
    with changed('/usr/bin/systemctl', '#!/bin/sh\n[ "$1" != start ] && [ "$2" != is-active ]\n'):
        said = dom0.xsisolate('activate', code=1)
    assert 'could not start %s' % ', '.join(UNITS) in said and 'nothing has changed' in said
    check_stock(dom0, installed=True, this_xenopsd=OURS)
    dom0.xsisolate('activate')
    check_ours(dom0)


def test_a_removal_that_fails_half_way_is_taken_back(dom0: Dom0) -> None:
    with changed(STOCK + '/setup-vif-rules', '#!/bin/sh\necho no >&2; exit 1\n'):
        said = dom0.rpm('-e', 'xsisolate', code=1)
    assert 'could not run the stock setup-vif-rules for vif4.0' in said
    assert 'nothing has changed after all' in said
    check_ours(dom0)


def test_an_upgrade_that_fails_leaves_the_old_state(dom0: Dom0, sabotaged: str) -> None:
    said = dom0.rpm('-U', sabotaged, code=1)
    assert 'scriptlet failed' in said
    assert 'xsisolate-0.1.0-1.noarch' in dom0.rpm('-q', 'xsisolate')
    check_ours(dom0)


def test_a_removal_that_cannot_give_back_removes_nothing(dom0: Dom0) -> None:
    os.rename(STOCK + '/setup-vif-rules', STOCK + '/away')
    try:
        said = dom0.rpm('-e', 'xsisolate', code=1)
        assert STOCK + '/setup-vif-rules is missing' in said and 'nothing was changed' in said
    finally:
        os.rename(STOCK + '/away', STOCK + '/setup-vif-rules')
    check_ours(dom0)


def test_deactivating_is_the_inverse(dom0: Dom0) -> None:
    links = blips(dom0)
    assert 'QUARANTINE' not in dom0.xsisolate('deactivate', '--dry-run', code=4)
    check_ours(dom0)
    said = dom0.xsisolate('deactivate')
    assert 'The toolstack must be restarted' in said
    # only the VIF that XAPI locks: the stock script puts its port off and on
    assert {name for name, count in blips(dom0).items() if count != links[name]} == {'vif4.0'}
    check_stock(dom0, installed=True, this_xenopsd=OURS)
    assert dom0.xsisolate('deactivate', '--dry-run') == (
        'nothing to do: the hooks are the stock ones\n')


def test_a_vif_plugged_meanwhile_is_the_stock_hooks(dom0: Dom0) -> None:
    """xenopsd still writes our path into its key, and calls it when the VIF is refreshed."""
    dom0.calls()
    vm = start_vm(dom0.host, 15, 'red')
    vm.set_locking('locked', ipv4=('10.9.0.15',))
    assert [line.split()[0] for line in dom0.calls()] == ['vif'] + ['setup-vif-rules'] * 2
    assert not dom0.flows() and dom0.answering().keys == (STOCK,)
    vm.shutdown()       # the stock script leaves flows behind; to activate removes them
    dom0.restart_toolstack()
    assert 'restarted' not in dom0.xsisolate('deactivate')
    check_stock(dom0, installed=True)


def test_changing_ones_mind_needs_no_restart(dom0: Dom0) -> None:
    dom0.xsisolate('activate')
    assert 'restarted' not in dom0.xsisolate('deactivate')
    check_stock(dom0, installed=True)


def ask_plugin(function: str, **arguments: str) -> Any:
    """Call the XAPI plugin, as xapi does; return what it answers."""
    plugins = os.path.join(REPOSITORY, 'tests', 'programs', 'sandbox', 'plugins')   # XenAPIPlugin
    done = subprocess.run(
        ['/etc/xapi.d/plugins/xsisolate', xmlrpc.client.dumps(('x', arguments), function)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8', timeout=120, cwd='/',
        env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'PYTHONPATH': plugins})
    reply: Any = xmlrpc.client.loads(done.stdout)[0][0]
    assert reply['Status'] == 'Success', (reply, done.stderr)
    return json.loads(reply['Value'])


def test_the_plugin_does_what_the_commands_do(dom0: Dom0) -> None:
    """`xsisolate pool activate` needs no ssh."""
    before = dom0.answering()
    planned = ask_plugin('activate', dry_run='true')
    assert planned['steps'] and not planned['problems'] and dom0.answering() == before
    assert ask_plugin('activate')['steps'] == planned['steps']
    assert dom0.xsisolate('activate', '--dry-run') == 'nothing to do: the hooks are taken over\n'
    assert not ask_plugin('activate', dry_run='true')['steps']
    assert ask_plugin('deactivate')['steps'] and dom0.answering() == before
    assert not ask_plugin('deactivate', dry_run='true')['steps']


def test_removing_what_is_not_active(dom0: Dom0) -> None:
    os.makedirs('/run/xsisolate/groups', exist_ok=True)
    with open('/run/xsisolate/groups/red.json', 'w') as file:
        file.write('{"version": 1, "members": []}')
    dom0.rpm('-e', 'xsisolate')
    assert not os.path.exists('/run/xsisolate')
    check_stock(dom0)


def test_a_restart_that_is_asked_for(dom0: Dom0) -> None:
    dom0.rpm('-i', TWO)
    dom0.answer(tasks=['Export VM'])
    dom0.xsisolate('activate')
    assert 'or say --force' in dom0.xsisolate('activate', '--restart-toolstack', code=1)
    said = dom0.xsisolate('activate', '--restart-toolstack', '--force')
    dom0.answer()
    assert '--force: the restart of the toolstack loses 1 tasks (xe task-list): Export VM' in said
    assert 'Export VM' in said
    dom0.remember()
    check_ours(dom0)


def test_removing_what_is_active_gives_back_first(dom0: Dom0) -> None:
    said = dom0.rpm('-e', 'xsisolate')
    assert 'two scripts' in said and 'xe-toolstack-restart && rm -r' in said
    assert dom0.changed() == {OURS, OURS + '/vif', OURS + '/setup-vif-rules'}
    state = Answering((STOCK,), (STOCK,), (OURS,), (STOCK,), ())
    assert dom0.answering() == state and not dom0.flows()
    # until the restart xenopsd writes a path that only two scripts answer to
    vm = start_vm(dom0.host, 16, 'red')
    assert dom0.answering().keys == (STOCK,)
    vm.shutdown()
    dom0.host.vms[3].move('xenbr0')
    dom0.restart_toolstack()
    run(['rm', '-r', OURS, '/run/xsisolate'])
    check_stock(dom0)


def test_installing_again(dom0: Dom0) -> None:
    dom0.rpm('-i', ONE)
    dom0.xsisolate('activate')
    dom0.restart_toolstack()
    check_ours(dom0)


def test_installing_again_before_the_toolstack_has_been_restarted(dom0: Dom0) -> None:
    dom0.rpm('-e', 'xsisolate')
    dom0.rpm('-i', ONE)
    check_stock(dom0, installed=True, this_xenopsd=OURS)
    vm = start_vm(dom0.host, 17, 'red')
    vm.set_locking('unlocked')
    assert not dom0.flows()
    vm.shutdown()
    assert 'restarted' not in dom0.xsisolate('activate')
    check_ours(dom0)
    dom0.rpm('-e', 'xsisolate')
    dom0.restart_toolstack()
    run(['rm', '-r', OURS, '/run/xsisolate'])
    check_stock(dom0)
