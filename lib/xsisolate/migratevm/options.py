"""The command line, and questions for what it leaves out."""
import argparse
import getpass
import os
import sys
from typing import NamedTuple, Optional, Sequence

from xsisolate import __version__
from xsisolate.dom0.xapi.password_file import read_password_file
from xsisolate.dom0.xapi.session import Remote, check_fingerprint
from xsisolate.dom0.xapi.transport import SOCKET
from xsisolate.errors import UsageError
from xsisolate.migratevm.stream import COMPRESSIONS

LOCALHOST, ROOT = 'localhost', 'root'
METHODS = ('auto', 'stream', 'live')
STALL_S = 900
VARIABLE = 'MIGRATEVM_%s_PASSWORD'

DESCRIPTION = '''Move a VM between XCP-ng or XenServer hosts that share neither pool nor storage.
The VM flows from one host's XAPI into the other's in one stream: no file, no local disk. What is
left out is asked for on a terminal; elsewhere the default holds.'''
EXAMPLES = '''
examples:
  migratevm                                      ask for everything
  migratevm -sh alpha -sv web1 -dh beta          move web1 to beta's default storage
  migratevm -sh alpha -sv web1 -dh beta --dry-run    would it arrive?
  migratevm -sh alpha -sv web1 -dh beta -ds ssd --compress zstd
  migratevm -sh alpha -sv web1 -dh beta --snapshot --copy --name web1-copy --reseal
  migratevm -sh alpha -sv web1 -dh beta --method live    while it runs, or not at all

passwords: the environment's MIGRATEVM_SOURCE_PASSWORD and MIGRATEVM_DESTINATION_PASSWORD, a file
that only its owner may read, or the prompt. One on the command line works, and every user
of this machine can read it. On a host itself root needs none.

A stream leaves the VM at the source, halted: start only one of the two. A live migration (--method
live, or auto where XAPI allows it) takes it away from there.

exit codes: 0 moved, 1 a host failed or refused, 2 usage, 3 its isolation forbids it, 4 moved, but
its policy does not count until you do what is said, 130 interrupted
'''


class Side(NamedTuple):
    """One end of the move."""

    word: str               # 'source' or 'destination'
    remote: Optional[Remote]    # None: this host's own XAPI

    @property
    def name(self) -> str:
        """What to call its host."""
        return self.remote.host if self.remote else LOCALHOST


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog='migratevm', description=DESCRIPTION, epilog=EXAMPLES, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--version', action='version', version='migratevm ' + __version__)
    group = parser.add_argument_group('source')
    add_side(group, 's', 'source')
    group.add_argument('-sv', '--source-vm', metavar='VM', help='name or uuid of the VM')
    group = parser.add_argument_group('destination')
    add_side(group, 'd', 'destination')
    group.add_argument('-ds', '--destination-sr', metavar='SR',
                       help='name or uuid of a storage repository (default: the pool\'s default)')
    group.add_argument('--name', metavar='NAME', default='', help='what to call the VM there')
    group.add_argument('--copy', action='store_true',
                       help='a new VM, with a new uuid and new MAC addresses')
    add_manner(parser.add_argument_group('how'))
    add_isolation(parser.add_argument_group('isolation'))
    group = parser.add_argument_group('certificates', 'a host\'s certificate is verified')
    group.add_argument('--ca', metavar='FILE', help='certificates to verify the hosts\' with, PEM')
    group.add_argument('--fingerprint', metavar='SHA256', action='append', default=[],
                       help='of a host\'s certificate, instead; once for each host')
    group.add_argument('--insecure', action='store_true',
                       help='do not verify the hosts: whatever is in between reads passwords and '
                            'disks')
    return parser


def add_side(group: 'argparse._ArgumentGroup', letter: str, word: str) -> None:
    """Add the options of one end."""
    group.add_argument('-%sh' % letter, '--%s-host' % word, metavar='HOST',
                       help='a host of the %s pool, best its master (default: localhost)' % word)
    group.add_argument('-%su' % letter, '--%s-user' % word, metavar='USER',
                       help='user name there (default: root)')
    group.add_argument('-%sp' % letter, '--%s-password' % word, metavar='PASSWORD',
                       help='password; every user of this machine can read it here')
    group.add_argument('--%s-password-file' % word, metavar='FILE',
                       help='a file with the password, that only its owner may read')


def add_manner(group: 'argparse._ArgumentGroup') -> None:
    """Add the options that say how to move."""
    group.add_argument('--method', choices=METHODS, default='auto',
                       help='live: XAPI\'s own migration, of a running VM, too; stream: export '
                            'into import; auto: live where XAPI allows it, else stream (default)')
    group.add_argument('--snapshot', action='store_true',
                       help='stream a snapshot of a VM that runs; the VM runs on')
    group.add_argument('--compress', choices=tuple(COMPRESSIONS), default='none',
                       help='have the source compress the stream (default: none)')
    group.add_argument('--stall', metavar='SECONDS', type=seconds, default=STALL_S,
                       help='give up when nothing moves for so long (default: %d)' % STALL_S)
    group.add_argument('--dry-run', action='store_true', help='check everything, move nothing')
    group.add_argument('--json', action='store_true',
                       help='print progress and result as lines of JSON')


def add_isolation(group: 'argparse._ArgumentGroup') -> None:
    """Add the options that say what becomes of policies."""
    group.add_argument('--reseal', action='store_true',
                       help='show the policy of a VM that arrives under a new uuid or MAC address, '
                            'ask, and seal it anew')
    group.add_argument('--yes', action='store_true', help='reseal without asking')
    group.add_argument('--allow-unprotected', action='store_true',
                       help='move an isolated VM to hosts that do not run xsisolate')


def seconds(text: str) -> float:
    """Return a number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError('%.20r is not a number of seconds' % text)
    return value


def read_options(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """Return the command line, checked."""
    options = build_parser().parse_args(argv)
    for name in ('source_host', 'source_user', 'source_vm', 'destination_host', 'destination_user',
                 'destination_sr', 'name'):
        setattr(options, name, text_of(getattr(options, name)))
    if options.insecure and (options.ca or options.fingerprint):
        raise UsageError('--insecure verifies nothing: say it without --ca and --fingerprint')
    if options.ca and options.fingerprint:
        raise UsageError('say --ca or --fingerprint: a certificate is verified in one way')
    if options.method == 'live' and (options.snapshot or options.compress != 'none'):
        raise UsageError('--snapshot and --compress are for a stream: leave out --method live')
    if options.yes and not options.reseal:
        raise UsageError('--yes is for --reseal')
    if options.reseal and not options.yes and (options.json or not sys.stdin.isatty()):
        raise UsageError('--reseal asks on a terminal, and there is none: look at the policy with '
                         'xsisolate seal VM --canonical, then say --yes')
    options.fingerprint = tuple(check_fingerprint(text) for text in options.fingerprint)
    return options


def text_of(argument: Optional[str]) -> Optional[str]:
    """Return an argument as its writer meant it; with LC_ALL=C Python 3.6 takes it for ASCII."""
    return None if argument is None else os.fsencode(argument).decode('utf-8', 'replace')


def ask(question: str, default: str = '') -> str:
    """Return an answer from the terminal; the default where there is none, or none is given."""
    if not sys.stdin.isatty():
        return default
    print('%s%s: ' % (question, ' [%s]' % default if default else ''), end='', file=sys.stderr,
          flush=True)
    return sys.stdin.readline().strip() or default


def read_side(options: argparse.Namespace, word: str) -> Side:
    """Return one end, asking for what is left out."""
    def option(name: str) -> Optional[str]:
        value: Optional[str] = getattr(options, '%s_%s' % (word, name))
        return value

    host = option('host') or ask('%s host' % word.capitalize(), LOCALHOST)
    user = option('user') or ask('%s user' % word.capitalize(), ROOT)
    given = find_password(word, option('password'), option('password_file'))
    if given is None and host == LOCALHOST and user == ROOT and is_a_host():
        return Side(word, None)
    if options.insecure:
        print('migratevm: --insecure: the host %s is not verified' % ascii(host)[1:-1],
              file=sys.stderr)
    return Side(word, Remote(host, user, ask_password(word, user, host) if given is None else given,
                             options.ca, options.fingerprint, options.insecure))


def is_a_host() -> bool:
    """Tell whether this machine has a XAPI of its own, and we are its root."""
    return os.path.exists(SOCKET) and os.geteuid() == 0


def find_password(word: str, given: Optional[str], path: Optional[str]) -> Optional[str]:
    """Return the password from command line, file or environment; None if it is nowhere."""
    if given is not None:
        print('migratevm: the %s password is on the command line, where every user of this machine '
              'can read it: %s or --%s-password-file are better'
              % (word, VARIABLE % word.upper(), word), file=sys.stderr)
        return text_of(given)
    if path:
        return read_password_file(path, 'password file')
    return text_of(os.environ.get(VARIABLE % word.upper()))


def ask_password(word: str, user: str, host: str) -> str:
    """Return the password from the terminal, without echo."""
    if not sys.stdin.isatty():
        raise UsageError('no password for the %s: set %s, or name a --%s-password-file'
                         % (word, VARIABLE % word.upper(), word))
    return getpass.getpass('Password of %s on %s: ' % (user, host))


def ask_vm(options: argparse.Namespace) -> str:
    """Return which VM is to be moved."""
    text = str(options.source_vm or ask('VM'))
    if not text:
        raise UsageError('which VM? name it with -sv')
    return text


def ask_storage(options: argparse.Namespace, default: str) -> str:
    """Return which storage is to take it; '' is the pool's default."""
    if options.destination_sr:
        return str(options.destination_sr)
    answer = ask('Storage repository', default)
    return '' if answer == default else answer


