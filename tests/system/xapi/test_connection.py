"""Who is spoken with: the socket of this host, or a host that has proven who it is."""
import os
from typing import Any, Iterator, List

import pytest

from sandbox.pool import Pool
from sandbox.pythons import for_hooks
from sandbox.xapidb import PASSWORD

from support.xapi_admin import Admin

from xsisolate.dom0.xapi import session
from xsisolate.dom0.xapi.session import Remote, connect
from xsisolate.errors import UsageError, XsisolateError

CHECK = ('seal', '--all', '--check')


@pytest.fixture
def ca(pool: Pool) -> List[str]:
    """Files with each host's certificate alone."""
    return [pool.certificate(host) + '.crt' for host in pool.hosts]


def test_roots_session_on_every_host(pool: Pool, admin: Admin) -> None:
    for host in pool.hosts:
        admin.fine(*CHECK, host=host)


def test_a_certificate_that_is_known(pool: Pool, admin: Admin, ca: List[str]) -> None:
    ran = admin.over_tls(*CHECK, '--ca', ca[0])
    assert ran.code == 0 and not ran.err
    ran = admin.over_tls(*CHECK, '--fingerprint', pool.fingerprint(pool.hosts[0]))
    assert ran.code == 0 and not ran.err


@pytest.mark.parametrize('options', [[], ['--ca', 1], ['--fingerprint', 1]])
def test_a_stranger_hears_nothing(pool: Pool, admin: Admin, ca: List[str], options: Any) -> None:
    """No password goes to whoever has not proven to be the host."""
    heard: List[str] = []
    pool.fault = lambda method, params, after: heard.append(method)
    words = [word if isinstance(word, str) else
             ca[word] if options[0] == '--ca' else pool.fingerprint(pool.hosts[word])
             for word in options]
    ran = admin.over_tls(*CHECK, *words)
    assert ran.code == 1 and len(ran.err.splitlines()) == 1 and 'certificate' in ran.err
    assert '--fingerprint' in ran.err and not heard


def test_insecure_says_so(pool: Pool, admin: Admin) -> None:
    ran = admin.over_tls(*CHECK, '--insecure')
    assert ran.code == 0 and ran.err.count('\n') == 1 and 'not verified' in ran.err


def test_a_member_sends_us_to_its_master(pool: Pool, admin: Admin, ca: List[str]) -> None:
    member = pool.hosts[1]
    prints = [word for host in pool.hosts for word in ('--fingerprint', pool.fingerprint(host))]
    assert admin.over_tls(*CHECK, *prints, host=member).code == 0
    # the master must prove who it is, too
    ran = admin.over_tls(*CHECK, *prints[2:], host=member)
    assert ran.code == 1 and pool.address(pool.hosts[0]) in ran.err
    assert admin.over_tls(*CHECK, '--ca', ca[1], host=member).code == 1


def test_sent_round_and_round(pool: Pool, admin: Admin) -> None:
    from sandbox.xapidb import Refused

    def nobody(host: Any, method: str, params: Any) -> Any:
        raise Refused('HOST_IS_SLAVE', pool.address(pool.hosts[1]))
    pool._remote = nobody       # type: ignore[method-assign]
    try:
        ran = admin.over_tls(*CHECK, '--insecure')
    finally:
        del pool._remote        # type: ignore[method-assign]
    assert ran.code == 1 and 'each host names another as the master' in ran.err


def test_a_wrong_password(pool: Pool, admin: Admin) -> None:
    trust = ('--fingerprint', pool.fingerprint(pool.hosts[0]))
    ran = admin.over_tls(*CHECK, *trust, password='wrong')
    assert ran.code == 1 and 'user name or password is wrong' in ran.err
    assert 'wrong password' not in ran.err and PASSWORD not in ran.err


def test_password_files(pool: Pool, admin: Admin, tmp_path: Any) -> None:
    path = tmp_path / 'password'
    path.write_text(PASSWORD + '\n')
    words = (*CHECK, '--password-file', str(path), '--fingerprint',
             pool.fingerprint(pool.hosts[0]))
    os.chmod(str(path), 0o644)
    assert 'chmod 600' in admin.over_tls(*words, password='ignored').err
    os.chmod(str(path), 0o600)
    assert admin.over_tls(*words, password='ignored').code == 0
    assert admin.over_tls(*CHECK, '--password-file', str(path) + 'x').code == 2


def test_no_password_and_nobody_to_ask(pool: Pool, admin: Admin) -> None:
    assert 'XSISOLATE_PASSWORD' in admin.refused(2, *CHECK, '--host', '127.0.0.9')


def test_the_password_is_nowhere_to_be_seen(pool: Pool, admin: Admin) -> None:
    """No option takes it: what is on a command line, everybody on the machine can read."""
    for command in ('set', 'unset', 'seal', 'relocate'):
        assert '--password ' not in admin.fine(command, '--help').out


@pytest.mark.parametrize('host', ['127.0.0.9:1', '[::1]:1', '::1', 'no such host', 'a/b', ''])
def test_nobody_is_there(pool: Pool, host: str) -> None:
    with pytest.raises(XsisolateError) as found:
        connect(Remote(host, password='x', insecure=True))
    assert str(found.value).isprintable() and '\n' not in str(found.value)


@pytest.mark.parametrize('text', ['', 'ab', 'zz' * 32, 'ab' * 20, 'ab' * 33])
def test_a_fingerprint_that_is_none(text: str) -> None:
    with pytest.raises(UsageError):
        session.check_fingerprint(text)


def test_fingerprints_as_openssl_prints_them(pool: Pool) -> None:
    printed = pool.fingerprint(pool.hosts[0])
    assert printed.count(':') == 31
    assert session.check_fingerprint(printed) == printed.replace(':', '').lower()


def test_no_xapi_here(admin: Admin, pool: Pool) -> None:
    host = pool.hosts[0]
    host.execute(['mv', '/var/lib/xcp/xapi', '/var/lib/xcp/away'])
    try:
        assert '--host' in admin.refused(1, *CHECK)
    finally:
        host.execute(['mv', '/var/lib/xcp/away', '/var/lib/xcp/xapi'])


def test_the_module_is_missing(admin: Admin, pool: Pool) -> None:
    line = pool.hosts[0].execute(['/usr/bin/python3', '-S', '-m', 'xsisolate', *CHECK])
    assert line.returncode == 1 and 'pip install XenAPI' in line.stderr
    assert 'Traceback' not in line.stderr


def test_it_does_not_wait_for_ever(pool: Pool) -> None:
    """XAPI accepts, and is silent."""
    import socket
    import time
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen(1)
        began = time.monotonic()
        with pytest.raises(XsisolateError, match='no answer within|timed out'):
            connect(Remote('127.0.0.1:%d' % silent.getsockname()[1], insecure=True),
                    timeout=0.3)
        assert time.monotonic() - began < 5


@pytest.fixture
def logged_in(pool: Pool) -> Iterator[session.Xapi]:
    """A session of root's over TLS."""
    with connect(Remote('%s:%d' % (pool.address(pool.hosts[0]), pool.port), password=PASSWORD,
                        insecure=True)) as found:
        yield found


def test_a_session_that_xapi_has_forgotten(pool: Pool, logged_in: session.Xapi) -> None:
    """The module would log in again and go on: a follower of events must not."""
    pool.db.sessions.clear()
    with pytest.raises(session.XapiError) as found:
        logged_in.call('VM.get_all_records')
    assert found.value.code == 'SESSION_INVALID' and not pool.db.sessions


@pytest.mark.parametrize('method, args, code', [
    ('VM.get_record', ['nonsense'], 'HANDLE_INVALID'), ('VM.fly', [], 'MESSAGE_METHOD_UNKNOWN'),
    ('VM.get_record', [], 'MESSAGE_PARAMETER_COUNT_MISMATCH'),
    ('event.from', [['VM'], 'x', 1.0], 'EVENT_FROM_TOKEN_PARSE_FAILURE'),
    ('VM.set_xenstore_data', ['x', 'y'], 'FIELD_TYPE_ERROR')])
def test_errors_have_xapis_codes(logged_in: session.Xapi, method: str, args: Any,
                                 code: str) -> None:
    with pytest.raises(session.XapiError) as found:
        logged_in.call(method, *args)
    assert found.value.code == code and method in str(found.value)


@pytest.mark.parametrize('value', [None, object(), 1 << 40, b'\xff', {'a': {1, 2}}])
def test_what_xml_rpc_cannot_carry(logged_in: session.Xapi, value: Any) -> None:
    with pytest.raises(XsisolateError):
        logged_in.call('VM.get_record', value)


def test_hooks_never_load_it() -> None:
    """Neither the module nor TLS nor XML: they would cost each plug a tenth of a second."""
    import subprocess
    from sandbox.hooks import REPOSITORY
    code = ('import sys; sys.path.insert(0, %r); from xsisolate.hooks import entry, call; '
            'print([name for name in ("XenAPI", "ssl", "xmlrpc", "http", '
            '"xsisolate.dom0.xapi.session") if name in sys.modules])'
            % os.path.join(REPOSITORY, 'lib'))
    out = subprocess.check_output([for_hooks(), '-c', code])
    assert out.decode().strip() == '[]'
