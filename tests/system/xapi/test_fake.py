"""The fake behaves as xapi does where it matters, and the real XenAPI module is content with it."""
import time
from typing import Any, Dict, Iterator

import pytest
import XenAPI

from sandbox.pool import Pool, PoolVm
from sandbox.xapidb import PASSWORD

from support.xapi_admin import until

SEAL = 'xsisolate-seal'


@pytest.fixture
def session(pool: Pool) -> Iterator[Any]:
    """A session of the official module, as any script has it."""
    session = XenAPI.Session('https://%s:%d' % (pool.address(pool.hosts[0]), pool.port),
                             ignore_ssl=True)
    session.xenapi.login_with_password('root', PASSWORD, '1.0', 'xsisolate')
    yield session.xenapi
    session.xenapi.session.logout()


def metadata(pool: Pool, vm: PoolVm) -> Dict[str, str]:
    """Return what xenopsd has been told of a VIF's other_config."""
    import json
    path = '/proc/%d/root/run/nonpersistent/xenopsd/classic/VM/%s/vif.0'
    host = pool.host_of(vm.ref)
    assert host
    with open(path % (host.pid, vm.uuid)) as file:
        return dict(json.load(file)['other_config'])


def test_what_reaches_a_domain(pool: Pool, session: Any) -> None:
    """A lone VIF.add_to_other_config does not; any event on the VM takes it along, a bit later."""
    web = pool.start_vm('web', pool.hosts[0], 11)
    time.sleep(0.3)
    session.VIF.add_to_other_config(web.vifs[0], SEAL, 'x')
    time.sleep(0.4)
    assert metadata(pool, web) == {}
    session.VM.add_to_other_config(web.ref, 'any', 'thing')
    until(lambda: metadata(pool, web) == {SEAL: 'x'}, 'the event')
    session.VIF.remove_from_other_config(web.vifs[0], SEAL)
    session.VM.set_xenstore_data(web.ref, {'vm-data/a': 'b', 'bare': 'x'})
    until(lambda: metadata(pool, web) == {}, 'the event')
    assert pool.hosts[0].call('vm_data')[web.uuid] == {'a': 'b'}       # at once, without the bare


def test_a_guest_writes_until_the_first_live_change(pool: Pool, session: Any) -> None:
    """What it writes comes back into XAPI; VM.set_xenstore_data makes the folder Dom0's own."""
    web = pool.start_vm('web', pool.hosts[0], 11)
    pool.guest_writes(web, 'vm-data/mine', 'yes')
    assert session.VM.get_record(web.ref)['xenstore_data'] == {'vm-data/mine': 'yes'}
    session.VM.set_xenstore_data(web.ref, {'vm-data/a': 'b'})
    with pytest.raises(Exception, match='EACCES'):
        pool.guest_writes(web, 'vm-data/mine', 'no')
    pool.stop(web)
    pool.start(web, pool.hosts[1])
    pool.guest_writes(web, 'vm-data/a', 'mine again')
    assert session.VM.get_record(web.ref)['xenstore_data'] == {'vm-data/a': 'mine again'}


def test_events(pool: Pool, session: Any) -> None:
    """A snapshot first; then only what has changed, and what is gone."""
    web = pool.add_vm('web', 11)
    first = getattr(session.event, 'from')(['VM', 'VIF'], '', 1.0)
    assert {event['operation'] for event in first['events']} == {'add'}
    assert {event['ref'] for event in first['events']} >= {web.ref, web.vifs[0]}
    nothing = getattr(session.event, 'from')(['VM'], first['token'], 0.1)
    assert nothing['events'] == []
    session.VM.add_to_other_config(web.ref, 'x', 'y')
    again = getattr(session.event, 'from')(['VM'], nothing['token'], 5.0)
    assert [(event['class'], event['operation'], event['snapshot']['other_config'])
            for event in again['events']] == [('vm', 'mod', {'x': 'y'})]
    pool.destroy(web)
    last = getattr(session.event, 'from')(['VM', 'VIF'], again['token'], 5.0)
    assert [(event['operation'], 'snapshot' in event) for event in last['events']] == [
        ('del', False)] * 2


@pytest.mark.parametrize('user, method, args, refused', [
    ('reader', 'VM.set_xenstore_data', ('vm', {}), 'RBAC_PERMISSION_DENIED'),
    ('tenant', 'VIF.set_locking_mode', ('vif', 'locked'), 'RBAC_PERMISSION_DENIED'),
    ('operator', 'host.call_plugin', ('host', 'p', 'f', {}), 'RBAC_PERMISSION_DENIED'),
    ('tenant', 'VM.clean_shutdown', ('vm',), 'MESSAGE_METHOD_UNKNOWN'),
    ('root', 'VM.get_record', (1,), 'FIELD_TYPE_ERROR')])
def test_roles_and_types(pool: Pool, user: str, method: str, args: Any, refused: str) -> None:
    session = XenAPI.Session('https://%s:%d' % (pool.address(pool.hosts[0]), pool.port),
                             ignore_ssl=True)
    session.xenapi.login_with_password(user, PASSWORD, '1.0', 'xsisolate')
    try:
        with pytest.raises(XenAPI.Failure) as found:
            getattr(getattr(session.xenapi, method.split('.')[0]), method.split('.')[1])(*args)
        assert found.value.details[0] == refused
    finally:
        session.xenapi.session.logout()
