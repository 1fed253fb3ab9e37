"""What a host's bridges are set to stands in its PIFs' records, so that networkd leaves them so."""
import json
from typing import Any, Dict, Iterator, List

import pytest

from sandbox.networkd import DISABLE_IN_BAND, FAIL_MODE
from sandbox.pool import CONFIG, Pool
from sandbox.poolhost import BRIDGE, Daemon, PoolHost
from sandbox.xapidb import Refused
from xsisolate.networkd.desired import KEYS, NOTE_KEY

from support.xapi_admin import until

CLOSED = CONFIG.replace('"*":\n', '"*":\n    fail_closed: true\n')


@pytest.fixture(scope='module')
def pool() -> Iterator[Pool]:
    """A pool of this module's own."""
    with Pool() as pool:
        yield pool


@pytest.fixture
def alpha(pool: Pool) -> Iterator[PoolHost]:
    """The first host, whose networks may fail closed; it is as before after that."""
    host = pool.hosts[0]
    yield host
    pool.fault = None
    host.call('configure', CONFIG)
    host.run('sync')
    host.execute([host.python, '-c', UNTELL])
    pool.db.set('PIF', pool.pifs[host.name], other_config={})
    assert fail_mode(host) == 'standalone'


@pytest.fixture
def daemon(alpha: PoolHost) -> Iterator[Daemon]:
    """The daemon on it; it must end well."""
    daemon = alpha.start_daemon()
    until(lambda: state(alpha).get('connected'), 'the daemon to follow XAPI', 20)
    try:
        yield daemon
    finally:
        code = daemon.stop()
    assert code == 0 and 'Traceback' not in daemon.said(), daemon.said()


# Of all steps of deactivate those that concern XAPI: units and hooks are not those of a test.
DEACTIVATE = """
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.config.host_config import read_configuration
from xsisolate.dataplane.context import HostContext
from xsisolate.activation.steps import plan_steps
with Ovsdb() as ovsdb, Xenstore() as store:
    for step in plan_steps(HostContext(ovsdb, store, read_configuration()), False):
        if 'PIF' in step.text:
            print(step.text)
            step.act()
"""
PIF_RECORDS = 'from xsisolate.networkd.pif_records import %s as do; '
OVSDB = 'from xsisolate.dom0.ovs.ovsdb import Ovsdb; '
TELL = PIF_RECORDS % 'tell_now' + OVSDB + 'print(do(Ovsdb()).error)'
UNTELL = PIF_RECORDS % 'untell' + OVSDB + 'do(Ovsdb())'
TOLD = PIF_RECORDS % 'find_told' + 'print(do())'


def state(host: PoolHost) -> Dict[str, Any]:
    """Return what the daemon has left for status and doctor."""
    text = host.execute(['cat', '/run/xsisolate/pool.json']).stdout
    return dict(json.loads(text)) if text else {}


def record(pool: Pool, host: PoolHost) -> Dict[str, str]:
    """Return other_config of a host's PIF."""
    return dict(pool.db.objects['PIF'][pool.pifs[host.name]]['other_config'])


def fail_mode(host: PoolHost) -> str:
    """Return the bridge's fail mode."""
    return str(host.call('ovs', 'vsctl', 'get', 'Bridge', BRIDGE, 'fail_mode')).strip('"[]')


def note(host: PoolHost) -> str:
    """Return what the bridge says that its fail mode was before us."""
    return str(host.call('ovs', 'vsctl', '--if-exists', 'get', 'Bridge', BRIDGE,
                         'external_ids:xsisolate-fail-mode')).strip('"[]')


def findings(host: PoolHost) -> List[Dict[str, Any]]:
    """Return what doctor finds about networkd."""
    found = json.loads(host.run('doctor', '--json').stdout)['findings']
    return [one for one in found if one['what'].startswith('networkd')]


def test_the_daemon_tells_networkd_and_takes_it_back_to_the_letter(
        pool: Pool, alpha: PoolHost, daemon: Daemon) -> None:
    before = {'mtu': '9000', FAIL_MODE: 'standalone'}
    pool.db.set('PIF', pool.pifs['alpha'], other_config=before)
    alpha.call('configure', CLOSED)
    until(lambda: record(pool, alpha).get(FAIL_MODE) == 'secure', 'the record', 15)
    assert fail_mode(alpha) == 'secure' and record(pool, alpha)['mtu'] == '9000'
    assert not KEYS & record(pool, pool.hosts[1]).keys()     # each host has its own
    assert any(FAIL_MODE in str(one) and one['state'] == 'ok' for one in findings(alpha))
    # networkd is told that, and leaves the bridge as it is
    flows = alpha.call('flows')
    alpha.call('plug_pif', record(pool, alpha))
    assert fail_mode(alpha) == 'secure' and set(flows) <= set(alpha.call('flows'))
    alpha.call('configure', CONFIG)
    until(lambda: record(pool, alpha) == before, 'the record as it was', 15)
    assert fail_mode(alpha) == 'standalone'


def test_a_bridge_made_anew_by_networkd_is_open_again_when_nobody_wants_it_closed(
        pool: Pool, alpha: PoolHost, daemon: Daemon) -> None:
    """What it was made with is ours, and not what was before us."""
    alpha.call('configure', CLOSED)
    until(lambda: record(pool, alpha).get(FAIL_MODE) == 'secure', 'the record', 15)
    alpha.call('ovs', 'vsctl', 'del-br', BRIDGE)
    alpha.call('plug_pif', record(pool, alpha))
    until(lambda: note(alpha) == 'standalone', 'the note', 15)
    alpha.call('configure', CONFIG)
    until(lambda: fail_mode(alpha) == 'standalone' and not record(pool, alpha),
          'the bridge to be open', 15)


def test_what_xapi_refuses_is_named_by_doctor_and_done_later(
        pool: Pool, alpha: PoolHost, daemon: Daemon) -> None:
    def refuse(method: str, params: Any, is_after: bool) -> None:
        if method.startswith('PIF.') and 'other_config' in method:
            raise Refused('RBAC_PERMISSION_DENIED', method)

    pool.fault = refuse
    alpha.call('configure', CLOSED)
    until(lambda: state(alpha).get('untold') == {BRIDGE: [FAIL_MODE]}, 'the refusal', 15)
    assert daemon.lines('networkd', 'RBAC_PERMISSION_DENIED', BRIDGE)
    found, = findings(alpha)
    assert found['state'] == 'warning' and 'RBAC_PERMISSION_DENIED' in str(found)
    assert state(alpha)['connected']        # groups are followed all the same
    pool.fault = None
    until(lambda: record(pool, alpha).get(FAIL_MODE) == 'secure', 'the record', 15)
    until(lambda: not state(alpha)['untold'], 'the state', 15)


def test_without_the_daemon_doctor_says_that_nobody_tells_networkd(
        pool: Pool, alpha: PoolHost) -> None:
    alpha.execute(['rm', '-f', '/run/xsisolate/pool.json'])
    alpha.call('configure', CLOSED)
    alpha.run('sync')
    found, = findings(alpha)
    assert found['state'] == 'warning' and FAIL_MODE in str(found)


def test_activate_tells_and_deactivate_takes_back(pool: Pool, alpha: PoolHost) -> None:
    alpha.call('configure', CLOSED)
    alpha.run('sync')
    done = alpha.execute([alpha.python, '-c', TELL])
    assert done.returncode == 0 and not done.stdout.strip(), done
    assert record(pool, alpha)[FAIL_MODE] == 'secure' and NOTE_KEY in record(pool, alpha)
    assert DISABLE_IN_BAND not in record(pool, alpha) or fail_mode(alpha) == 'secure'
    assert BRIDGE in alpha.execute([alpha.python, '-c', TOLD]).stdout
    done = alpha.execute([alpha.python, '-c', DEACTIVATE])
    assert done.returncode == 0 and BRIDGE in done.stdout, done
    assert not record(pool, alpha)
    assert alpha.execute([alpha.python, '-c', TOLD]).stdout.strip() == '[]'


def test_deactivate_does_not_go_on_while_xapi_is_silent(pool: Pool, alpha: PoolHost) -> None:
    """A record that stays would have networkd cut off VMs that nobody programs any more."""
    pool.close_doors('alpha')
    try:
        done = alpha.execute([alpha.python, '-c', DEACTIVATE])
        assert done.returncode and 'HostError' in done.stderr and 'networkd' in done.stderr
    finally:
        pool.open_doors(alpha)
