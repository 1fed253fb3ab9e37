"""How commands reach XAPI: options, the password, and the VM that an argument names."""
import argparse
import getpass
import os
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Optional

from xsisolate.cli.command import text_of
from xsisolate.dom0.xapi.password_file import read_password_file
from xsisolate.errors import UsageError

if TYPE_CHECKING:       # TLS and XML cost 60 ms, which commands without XAPI do not pay
    from xsisolate.dom0.xapi.session import Remote, Xapi

PASSWORD_VARIABLE = 'XSISOLATE_PASSWORD'

NOTE = '''
On a host of the pool no option is needed: root's local session serves, on members too. From
elsewhere name a host with --host. Its certificate must be signed by an authority that this machine
or --ca FILE knows, or have the --fingerprint. The password comes from the environment variable
XSISOLATE_PASSWORD, from --password-file, or is asked for; never from the command line.
'''


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which XAPI to speak with."""
    group = parser.add_argument_group('connection', 'to a pool elsewhere; on a host none is needed')
    group.add_argument('--host', metavar='H', help='a host of the pool, best its master')
    group.add_argument('--user', metavar='U', default='root', help='user name (default: root)')
    group.add_argument('--password-file', metavar='FILE',
                       help='a file with the password, that only its owner may read')
    group.add_argument('--ca', metavar='FILE',
                       help='certificates to verify the host\'s with, PEM')
    group.add_argument('--fingerprint', metavar='SHA256', action='append', default=[],
                       help='of the host\'s certificate; of its master\'s, too, if it is another')
    group.add_argument('--insecure', action='store_true',
                       help='do not verify the host: a machine in between can read the password')


def opener(arguments: argparse.Namespace) -> 'Opener':
    """Return what opens sessions as the options say, the password asked for once."""
    from xsisolate.dom0.xapi.session import Remote, check_fingerprint
    if arguments.host is None:
        for name in ('password_file', 'ca', 'fingerprint', 'insecure'):
            if getattr(arguments, name):
                raise UsageError('--%s is for a connection to another machine: name it with --host'
                                 % name.replace('_', '-'))
        return Opener(None)
    if arguments.insecure:
        print('xsisolate: --insecure: the identity of %s is not verified' % arguments.host,
              file=sys.stderr)
    prints = tuple(check_fingerprint(text) for text in arguments.fingerprint)
    return Opener(Remote(arguments.host, text_of(arguments.user), read_password(arguments),
                         arguments.ca, prints, arguments.insecure))


class Opener:
    """Opens sessions; a second one serves when the first is lost."""

    def __init__(self, remote: 'Optional[Remote]') -> None:
        self._remote = remote

    def __call__(self) -> 'Xapi':
        from xsisolate.dom0.xapi.session import connect
        return connect(self._remote)


def read_password(arguments: argparse.Namespace) -> str:
    """Return the password from file, environment or terminal."""
    if arguments.password_file:
        return read_password_file(arguments.password_file, '--password-file')
    if PASSWORD_VARIABLE in os.environ:
        return text_of(os.environ[PASSWORD_VARIABLE])
    if not sys.stdin.isatty():
        raise UsageError('no password: set %s, or name a --password-file' % PASSWORD_VARIABLE)
    return getpass.getpass('Password of %s on %s: ' % (arguments.user, arguments.host))


def now() -> str:
    """Return the time as XAPI's people write it."""
    return datetime.now(timezone.utc).strftime('%Y%m%dT%H:%M:%S.%fZ')
