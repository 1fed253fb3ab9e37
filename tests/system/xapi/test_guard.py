"""A host that has lost xsisolate, in a pool with real daemons: told of, disabled, enabled again."""
from typing import Any, Iterator

import pytest
from sandbox.pool import CONFIG, Pool
from sandbox.xapidb import Refused

from support.xapi_admin import until


@pytest.fixture(scope='module')
def pool() -> Iterator[Pool]:
    """A pool of this module's own, whose configuration has a guard."""
    with Pool(config=CONFIG + 'guard: true\n') as pool:
        yield pool


def test_an_installer_has_wiped_a_host(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, beta = pool.hosts
    real, gone = pool.call_plugin, [False]

    def call(host: str, *more: Any) -> str:
        if gone[0] and host == pool.refs['beta']:
            raise Refused('XENAPI_MISSING_PLUGIN', 'xsisolate')
        return real(host, *more)
    monkeypatch.setattr(pool, 'call_plugin', call)

    def host() -> Any:
        return pool.db.objects['host'][pool.refs['beta']]
    daemons = [alpha.start_daemon(), beta.start_daemon()]
    try:
        until(lambda: host()['other_config'].get('xsisolate-seen') == '100.', 'beta to be seen', 20)
        vm = pool.start_vm('web', beta, 11)
        done = alpha.run('set', vm.uuid, '--groups', 'red', '--ipv4', vm.ipv4)
        assert done.returncode == 0, done
        assert daemons.pop().stop() == 0
        gone[0] = True
        pool.db.set('host', pool.refs['beta'], other_config=dict(host()['other_config'],
                                                                 boot_time='200.'))
        until(lambda: not host()['enabled'], 'beta to be disabled', 90)
        until(lambda: pool.db.messages, 'the message')
        name, kind, uuid, text = pool.db.messages[0]
        assert (name, kind, uuid) == ('XSISOLATE_HOST_NOT_PROTECTED', 'Host', beta.uuid)
        assert 'NOT PROTECTED: 1' in text and vm.uuid in text
        assert pool.db.objects['host'][pool.refs['alpha']]['enabled']
        gone[0] = False
        daemons.append(beta.start_daemon())
        until(lambda: host()['enabled'], 'beta to be enabled again', 20)
        until(lambda: set(host()['other_config']) == {'boot_time', 'xsisolate-seen'}, 'the rest')
        assert len(pool.db.messages) == 1
    finally:
        for daemon in daemons:
            assert daemon.stop() == 0 and 'Traceback' not in daemon.said(), daemon.said()
