"""The command line: help, prompts, where passwords come from, who is believed to answer."""
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path
from typing import Any, List, Optional, Sequence

import pytest

from sandbox.barepool import BarePool
from sandbox.hooks import REPOSITORY
from sandbox.xapidb import PASSWORD
from xsisolate.migratevm.options import build_parser
from xsisolate.migratevm.progress import draw, measure, words

from support.vm_mover import DESTINATION, PYTHON, SOURCE, Mover, assert_same_disks, environment


def test_each_option_has_help() -> None:
    for action in build_parser()._actions:
        assert action.help, action.option_strings


def test_the_originals_options_are_there() -> None:
    known = {word for action in build_parser()._actions for word in action.option_strings}
    assert known >= {'-sh', '-su', '-sp', '-sv', '-dh', '-du', '-dp', '-ds'}


def test_help_and_version() -> None:
    for word in ('--help', '--version'):
        done = subprocess.run([PYTHON, '-m', 'xsisolate.migratevm', word], env=environment(),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0 and done.stdout and not done.stderr


class Terminal:
    """A terminal with an admin before it."""

    def __init__(self, argv: Sequence[str], environ: Any) -> None:
        self.pid, self.file = pty.fork()
        if not self.pid:
            os.execve(argv[0], list(argv), environ)
        self.seen = ''

    def read(self, what: str = '', seconds: float = 60) -> None:
        """Read until something appears, or to the end."""
        deadline = time.monotonic() + seconds
        while not what or what not in self.seen:
            assert time.monotonic() < deadline, (what, self.seen)
            if not select.select([self.file], [], [], 0.2)[0]:
                continue
            try:
                self.seen += os.read(self.file, 65536).decode()
            except OSError:
                assert not what, (what, self.seen)
                return

    def answer(self, question: str, text: str) -> None:
        """Wait for a question, and answer it."""
        self.read(question)
        self.seen = self.seen[self.seen.index(question) + len(question):]
        os.write(self.file, (text + '\n').encode())

    def end(self) -> int:
        """Return the exit code."""
        self.read()
        os.close(self.file)
        return os.WEXITSTATUS(os.waitpid(self.pid, 0)[1])


def test_everything_is_asked_for(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    """With the defaults of old; passwords are not echoed, and a bar shows how far it is."""
    web = alpha.add_vm('web', (1 << 34,), used=60)
    argv = mover.argv()
    for word in ('-sh', alpha.address, '-dh', beta.address):
        argv.remove(word)
    env = environment()
    del env[SOURCE], env[DESTINATION]
    terminal = Terminal(argv, dict(env, TERM='xterm', COLUMNS='100'))
    terminal.answer('Source host [localhost]: ', alpha.address)
    terminal.answer('Source user [root]: ', '')
    terminal.answer('Password of root on %s: ' % alpha.address, PASSWORD)
    terminal.answer('VM: ', 'web')
    terminal.answer('Destination host [localhost]: ', beta.address)
    terminal.answer('Destination user [root]: ', '')
    terminal.answer('Password of root on %s: ' % beta.address, PASSWORD)
    terminal.answer('Storage repository [Local storage]: ', '')
    code = terminal.end()
    assert code == 0, terminal.seen
    assert PASSWORD not in terminal.seen and re.search(r'\r\x1b\[K\[#+\] 100.0 %', terminal.seen)
    assert_same_disks(alpha, web, beta)


def run(mover: Mover, env: Any, *more: str, drop: Sequence[str] = ()) -> Any:
    """Run a dry run with another environment."""
    argv = [word for word in mover.argv('-sv', 'web', '--dry-run', *more) if word not in drop]
    return subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, encoding='utf-8', timeout=60)


def without_passwords() -> Any:
    """Return the environment without."""
    return {name: value for name, value in environment().items()
            if name not in (SOURCE, DESTINATION)}


@pytest.mark.parametrize('mode, code', [(0o600, 0), (0o640, 2), (None, 2)])
def test_password_files(mover: Mover, alpha: BarePool, tmp_path: Path, mode: Optional[int],
                        code: int) -> None:
    alpha.add_vm('web')
    path = tmp_path / 'password'
    if mode is not None:
        path.write_text(PASSWORD + '\n')
        path.chmod(mode)
    done = run(mover, without_passwords(), '--source-password-file', str(path),
               '--destination-password-file', str(path))
    assert done.returncode == code, done
    assert code == 0 or 'password file %s: ' % path in done.stderr


def test_a_password_on_the_command_line_works_and_warns(mover: Mover, alpha: BarePool) -> None:
    alpha.add_vm('web')
    done = run(mover, without_passwords(), '-sp', PASSWORD, '-dp', PASSWORD)
    assert done.returncode == 0
    assert done.stderr.count('password is on the command line') == 2
    assert PASSWORD not in done.stderr


@pytest.mark.parametrize('env, said, code', [
    (without_passwords(), 'no password for the source: set MIGRATEVM_SOURCE_PASSWORD', 2),
    (environment('wrong'), 'user name or password is wrong', 1)])
def test_no_or_wrong_password(mover: Mover, alpha: BarePool, env: Any, said: str,
                              code: int) -> None:
    alpha.add_vm('web')
    done = run(mover, env)
    assert done.returncode == code and said in done.stderr.splitlines()[-1]


def prints(pool: BarePool) -> List[str]:
    """Return the words that would name a pool's certificates."""
    return [pool.fingerprint(at) for at in range(len(pool.hosts))]


def test_who_answers(mover: Mover, alpha: BarePool, beta: BarePool, tmp_path: Path) -> None:
    """An unknown certificate is refused before the password goes; --ca, --insecure help."""
    web = alpha.add_vm('web')
    known = ['--fingerprint', *prints(alpha), *prints(beta)]
    done = run(mover, environment(), drop=known)
    assert done.returncode == 1 and '--fingerprint' in done.stderr and not alpha.db.roles
    done = run(mover, environment(), '--insecure', drop=known)
    assert done.returncode == 0 and done.stderr.count('is not verified') == 2
    ca = tmp_path / 'ca.pem'
    ca.write_text(''.join(Path(pool.certificate(at) + '.crt').read_text()
                          for pool in (alpha, beta) for at in (0, 1)))
    argv = [word for word in mover.argv('-sv', 'web', '--ca', str(ca)) if word not in known]
    alpha.sends_to = alpha.member(1)
    assert subprocess.run(argv, env=environment(), stdin=subprocess.DEVNULL).returncode == 0
    assert_same_disks(alpha, web, beta)


def test_a_host_that_the_source_sends_to_must_prove_itself(mover: Mover, alpha: BarePool) -> None:
    alpha.add_vm('web')
    alpha.sends_to = alpha.member(1)
    argv = [word for word in mover.argv('-sv', 'web') if word != alpha.fingerprint(1)]
    argv = [word for at, word in enumerate(argv) if not (
        word == '--fingerprint' and argv[at + 1].startswith('-'))]
    done = subprocess.run(argv, env=environment(), stdin=subprocess.DEVNULL, encoding='utf-8',
                          stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and 'which was not named' in done.stderr


def test_nobody_is_there(mover: Mover, alpha: BarePool, beta: BarePool) -> None:
    beta.die()
    alpha.add_vm('web')
    done = run(mover, environment())
    assert done.returncode == 1 and beta.address in done.stderr and (
        'Connection refused' in done.stderr)


@pytest.mark.parametrize('columns', [20, 60, 100])
def test_a_bar_fits(columns: int) -> None:
    for facts in (measure(1 << 40, 0.42, 1000), measure(0, None, 0), measure(5, 1.0, 0.1)):
        assert len(draw(facts, columns)) <= columns


def test_progress_in_words() -> None:
    assert words(measure(3 << 30, 0.5, 60)) == '50.0 %, 3.0 GiB, 52428 KB/s, 1 min 0 s left'
    assert words(measure(1 << 20, None, 1)) == '1.0 MiB, 1024 KB/s'


def test_the_man_page_knows_every_option(tmp_path: Path) -> None:
    page = Path(REPOSITORY, 'docs', 'man', 'migratevm.1')
    text = page.read_text().replace('\\-', '-')
    for action in build_parser()._actions:
        for word in action.option_strings:
            assert word in text, word
    done = subprocess.run(['groff', '-man', '-Tascii', '-ww', '-z', str(page)],
                          stderr=subprocess.PIPE)
    assert not done.stderr
