"""A host that has come back without xsisolate is found, told of and disabled; no other ever is."""
import time
from typing import Any, Dict, List, Tuple

import pytest
from sandbox.xapidb import NULL, Database, Effects, Refused

from xsisolate.dom0.xapi.session import XapiError
from xsisolate.pool import guard as guarding
from xsisolate.pool.guard import Guard
from xsisolate.pool.view import CLASSES, PoolView

MISSING = ('XENAPI_MISSING_PLUGIN', 'xsisolate')


class Log:
    """A log that remembers."""

    def __init__(self) -> None:
        self.lines: List[Dict[str, Any]] = []

    def info(self, text: str, **more: Any) -> None:
        """Note a line."""
        self.lines.append(more)

    warning = info


class Xapi(Effects):
    """A pool of hosts in XAPI's database, and what their plugins answer."""

    def __init__(self, count: int) -> None:
        self.db = Database(self)
        self.hosts = [self.db.add('host', uuid='%08d-0000-0000-0000-000000000000' % at,
                                  name_label='host-%d' % at, enabled=True,
                                  other_config={'boot_time': '100.', 'xsisolate-seen': '100.'})
                      for at in range(count)]
        self.db.add('pool', master=self.hosts[0], other_config={})
        self.answers: Dict[str, Any] = {}
        self.asked: List[str] = []
        self.session = self.db.open_session('pool-admin')
        self.guards = [(Guard(Log()), at) for at in range(count)]       # type: ignore[arg-type]
        self.on = True

    def beside(self, timeout: float) -> 'Xapi':
        """Return the session of a thread."""
        return self

    def call(self, method: str, *args: Any) -> Any:
        """Answer as XAPI."""
        try:
            return self.db.answer(method, [self.session, *args])
        except Refused as refused:
            raise XapiError(method, refused.details) from None

    def call_plugin(self, host: str, plugin: str, fn: str, session: str, args: Any) -> str:
        """Answer as a host's plugin."""
        self.asked.append(host)
        answer = self.answers.get(host, '{}')
        if isinstance(answer, tuple):
            raise Refused(*answer)
        if isinstance(answer, float):
            time.sleep(answer)
        return str(answer)

    def reboot(self, at: int, answer: Any, booted: str = '200.') -> str:
        """Have a host boot, its plugin answer like this, its daemon not run."""
        ref = self.hosts[at]
        self.db.set('host', ref, other_config=dict(self.record(at)['other_config'],
                                                   boot_time=booted))
        self.answers[ref] = answer
        return ref

    def record(self, at: int) -> Dict[str, Any]:
        """Return a host's record."""
        return self.db.objects['host'][self.hosts[at]]

    def run(self, but: Tuple[int, ...] = (), times: int = 12) -> None:
        """Have the daemons of all hosts but these look for a while."""
        for _ in range(times):
            for guard, at in self.guards:
                if at not in but:
                    view = PoolView()
                    view.take(self.call('event.from', list(CLASSES), '', 0.0)['events'])
                    guard.look(self, view, self.record(at)['uuid'], self.on)  # type: ignore
            time.sleep(0.03)

    def calls(self, method: str) -> List[Any]:
        """Return the arguments of calls."""
        return [args for name, args in self.db.calls if name == method]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment is enough."""
    monkeypatch.setattr(guarding, 'FIRST_S', 0.05)
    monkeypatch.setattr(guarding, 'AGAIN_S', 0.02)


def disabled(xapi: Xapi) -> List[int]:
    """Return the hosts that are disabled."""
    return [at for at in range(len(xapi.hosts)) if not xapi.record(at)['enabled']]


def test_a_pool_that_is_well_costs_no_call() -> None:
    xapi = Xapi(4)
    xapi.run()
    assert not xapi.asked and {name for name, _ in xapi.db.calls} == {'event.from'}


def test_a_host_without_xsisolate_is_told_of_once_and_disabled() -> None:
    xapi = Xapi(3)
    vm = xapi.db.add('VM', name_label='web\n', power_state='Running', resident_on=xapi.hosts[2],
                     scheduled_to_be_resident_on=NULL, xenstore_data={}, is_a_template=False,
                     is_a_snapshot=False, is_control_domain=False)
    network = xapi.db.add('network', bridge='xenbr0', name_label='x',
                          default_locking_mode='unlocked')
    for device, seal in (('0', {'xsisolate-seal': '1:x'}), ('1', {})):
        xapi.db.add('VIF', VM=vm, network=network, device=device, MAC='02:00:00:00:00:01',
                    locking_mode='network_default', ipv4_allowed=[], ipv6_allowed=[],
                    other_config=seal, currently_attached=True)
    ref = xapi.reboot(2, MISSING)
    xapi.run(but=(2,), times=20)
    assert disabled(xapi) == [2] and len(xapi.calls('host.disable')) == 1
    (name, priority, kind, uuid, text), = xapi.calls('message.create')
    assert (name, priority, kind) == ('XSISOLATE_HOST_NOT_PROTECTED', '2', 'Host')
    assert uuid == xapi.record(2)['uuid'] and 'NOT PROTECTED: 1\nweb\\n (' in text
    assert 'guard: true has disabled it' in text
    assert set(xapi.asked) == {ref} and len(xapi.asked) == guarding.TIMES
    xapi.answers = {}
    xapi.run()      # now its daemon runs, too
    assert not disabled(xapi) and 'xsisolate-disabled' not in xapi.record(2)['other_config']
    assert xapi.record(2)['other_config'] == {'boot_time': '200.', 'xsisolate-seen': '200.'}


def test_without_guard_it_is_told_of_only() -> None:
    xapi = Xapi(3)
    xapi.on = False
    xapi.reboot(2, MISSING)
    xapi.run(but=(2,))
    assert not disabled(xapi) and 'It stays enabled' in xapi.calls('message.create')[0][4]


def test_a_host_that_an_admin_has_disabled_is_not_enabled_by_us() -> None:
    xapi = Xapi(3)
    xapi.db.set('host', xapi.hosts[2], enabled=False)
    xapi.reboot(2, MISSING)
    xapi.run(but=(2,))
    xapi.answers = {}
    xapi.run()
    assert disabled(xapi) == [2] and not xapi.calls('host.enable')


@pytest.mark.parametrize('answer', [
    '{}', ('HOST_OFFLINE', 'x'), ('XSISOLATE_FAILED', 'x'), ('CANNOT_CONTACT_HOST', 'x'),
    ('UNKNOWN_XENAPI_PLUGIN_FUNCTION', 'x'), ('XENAPI_PLUGIN_FAILURE', 'x'),
    ('RBAC_PERMISSION_DENIED', 'x')])
def test_a_host_that_is_slow_down_or_older_is_left_alone(answer: Any) -> None:
    xapi = Xapi(3)
    xapi.reboot(2, answer)
    xapi.run(but=(2,), times=20)
    assert xapi.asked and not disabled(xapi) and not xapi.calls('message.create')


def test_a_host_that_hangs_holds_up_nothing() -> None:
    xapi = Xapi(3)
    xapi.reboot(2, 3.0)
    began = time.monotonic()
    xapi.run(but=(2,), times=20)
    assert time.monotonic() - began < 2.5 and len(xapi.asked) == 1 and not disabled(xapi)


def test_a_plugin_that_is_missing_for_a_moment() -> None:
    xapi = Xapi(3)
    xapi.reboot(2, MISSING)
    while not xapi.asked:
        xapi.run(but=(2,), times=1)
    xapi.answers = {}
    xapi.run(but=(2,), times=20)
    assert len(xapi.asked) > guarding.TIMES and not disabled(xapi)


def test_the_master_is_told_of_and_never_disabled() -> None:
    xapi = Xapi(3)
    xapi.reboot(0, MISSING)
    xapi.run(but=(0,))
    assert not disabled(xapi) and 'pool\'s master' in xapi.calls('message.create')[0][4]
    assert len(xapi.calls('message.create')) == 1       # by one host


def test_the_last_host_is_never_disabled() -> None:
    xapi = Xapi(3)
    xapi.db.set('pool', next(iter(xapi.db.objects['pool'])), master=xapi.hosts[1])
    xapi.db.set('host', xapi.hosts[1], enabled=False)       # in maintenance
    xapi.reboot(0, MISSING)
    xapi.reboot(2, MISSING)
    xapi.run(but=(0, 2))
    assert disabled(xapi) == [1] and not xapi.calls('host.disable')
    assert 'no other host of the pool is enabled' in xapi.calls('message.create')[0][4]


def test_all_but_one() -> None:
    xapi = Xapi(4)
    for at in (1, 2, 3):
        xapi.reboot(at, MISSING)
    xapi.run(but=(1, 2, 3), times=20)
    assert disabled(xapi) == [1, 2, 3]      # the master keeps xsisolate, and is enabled


def test_a_pool_of_one() -> None:
    xapi = Xapi(1)
    xapi.reboot(0, MISSING)
    xapi.run()
    assert not xapi.asked and not disabled(xapi)


def test_a_host_that_xapi_says_nothing_of() -> None:
    xapi = Xapi(2)
    xapi.db.set('host', xapi.hosts[1], other_config={})
    xapi.run(but=(1,))
    assert not xapi.asked
