"""Help, man page and completion know every command and every flag of the parser."""
import argparse
import os
import re
import subprocess
import sys
from typing import Dict, Iterator, List, Tuple

import pytest
from sandbox.hooks import REPOSITORY
from sandbox.pythons import for_hooks
from xsisolate import cli

from support.command import USAGE, xsisolate

GENERATOR = os.path.join(REPOSITORY, 'rpm', 'completion', 'generate.py')

pytestmark = pytest.mark.any_python


def find_commands(parser: argparse.ArgumentParser,
                  above: str = '') -> Dict[str, argparse.ArgumentParser]:
    """Return the parsers of all commands by name, such as `set` or `pool status`."""
    found: Dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                found.update(find_commands(command, above + name + ' ')
                             or {above + name: command})
    return found


COMMANDS = find_commands(cli.build_parser())
JSON = {'status', 'explain', 'dump', 'matrix', 'seal', 'sync', 'check', 'doctor', 'pool status',
        'pool doctor', 'pool matrix', 'pool sync'}     # print tables


def read(*names: str) -> str:
    """Return the text of a file of the repository."""
    with open(os.path.join(REPOSITORY, *names), encoding='utf-8') as file:
        return file.read()


def man_page() -> Dict[str, str]:
    """Return the man page's text per command, without formatting."""
    text = read('docs', 'man', 'xsisolate.8')
    text = re.sub(r'\\f[BIRP]|^\.(?:B|I|BR|BI|RB|IR) ', '', text, flags=re.MULTILINE)
    text = text.replace('\\-', '-').replace('"', '')
    parts = re.split(r'^\.SS ', text.partition('.SH COMMANDS')[2].partition('.SH OUTPUT')[0],
                     flags=re.MULTILINE)
    return {' '.join(part.split()[:1 + part.startswith('pool ')]): part for part in parts[1:]}


def flags() -> Iterator[Tuple[str, str]]:
    """Yield every command with each of its flags."""
    for name, command in COMMANDS.items():
        for action in command._actions:
            for flag in action.option_strings:
                if flag not in ('-h', '--help'):
                    yield name, flag


def test_the_man_page_has_every_command() -> None:
    assert set(man_page()) == set(COMMANDS)


@pytest.mark.parametrize('command', sorted(COMMANDS))
def test_a_command_is_found_without_the_others(command: str) -> None:
    alone = find_commands(cli.build_parser(command.split()[0]))
    assert alone[command].format_help() == COMMANDS[command].format_help()
    assert len({name.split()[0] for name in alone}) < 3


@pytest.mark.parametrize('command, flag', sorted(flags()))
def test_the_man_page_has_every_flag(command: str, flag: str) -> None:
    assert re.search(r'(?<![\w-])%s(?![\w-])' % re.escape(flag), man_page()[command]), flag


@pytest.mark.parametrize('command', sorted(COMMANDS))
def test_the_man_page_invents_no_flag(command: str) -> None:
    known = {flag for action in COMMANDS[command]._actions for flag in action.option_strings}
    said = set(re.findall(r'(?<![\w-])--[a-z0-9-]+', man_page()[command]))
    assert said <= known, said - known


def test_the_man_page_is_well_formed() -> None:
    done = subprocess.run(['groff', '-man', '-ww', '-Tutf8', 'docs/man/xsisolate.8'],
                          cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          encoding='utf-8')
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.parametrize('command', sorted(COMMANDS))
def test_every_flag_has_help_and_every_command_examples(command: str) -> None:
    parser = COMMANDS[command]
    assert all(action.help for action in parser._actions), command
    assert 'examples:' in str(parser.epilog) and parser.description
    assert ('--json' in {flag for action in parser._actions for flag in action.option_strings}) is (
        command in JSON) or command not in JSON
    said = xsisolate(*command.split(), '--help').out
    assert said.startswith('usage: xsisolate %s' % command) and 'examples:' in said
    examples = re.findall(r'^  xsisolate ((?:pool )?\S+)', str(parser.epilog), re.MULTILINE)
    assert set(examples) <= set(COMMANDS), examples


def test_the_help_of_all() -> None:
    said, pool = xsisolate('--help').out, xsisolate('pool', '--help').out
    for command in COMMANDS:
        first, _, second = command.partition(' ')
        assert re.search(r'^    %s\s' % first, said, re.MULTILINE), first
        assert not second or re.search(r'^    %s\s' % second, pool, re.MULTILINE), second
    assert 'exit codes: 0 done' in said and 'examples:' in said


@pytest.mark.parametrize('words', [(), ('nonsense',), ('status', '--nonsense'), ('explain', 'a'),
                                   ('explain', 'a', 'b', '-4', '-6'), ('check', 'a', 'b')])
def test_usage(words: Tuple[str, ...]) -> None:
    said = xsisolate(*words, code=USAGE)
    assert said.err.startswith('usage: xsisolate') and not said.out


@pytest.mark.parametrize('command, flag', sorted(
    {(name, flag) for name, flag in flags() if flag.startswith('--') and len(flag) > 4}))
def test_no_flag_is_guessed(command: str, flag: str) -> None:
    """`set VM --re` was taken for --replace, which forgets the VM's addresses."""
    said = xsisolate(*command.split(), *fill(command), flag[:-1], code=USAGE)
    assert said.err.startswith('usage: xsisolate %s ' % command) and not said.out


@pytest.mark.parametrize('command', sorted(COMMANDS))
def test_words_too_many_show_the_usage_of_the_command(command: str) -> None:
    words = fill(command)
    said = xsisolate(*command.split(), *words, code=USAGE)
    assert said.err.startswith('usage: xsisolate %s ' % command), said.err
    assert said.err.endswith(': error: unrecognized arguments: %s\n' % ' '.join(words[sum(
        not action.option_strings for action in COMMANDS[command]._actions):]))


def fill(command: str) -> List[str]:
    """Return words for a command: one that it knows where it wants such a one, and too many."""
    places = [action for action in COMMANDS[command]._actions if not action.option_strings]
    return [str(next(iter(action.choices))) if action.choices else 'a'
            for action in places] + list('bcdefg')


def test_the_completion_is_current() -> None:
    for python in {sys.executable, for_hooks()}:
        said = subprocess.check_output([python, GENERATOR], encoding='utf-8',
                                       env={'PYTHONPATH': os.path.join(REPOSITORY, 'lib')})
        assert read('rpm', 'completion', 'xsisolate') == said, 'run `make completion`'
        subprocess.run(['bash', '-n'], input=said, encoding='utf-8', check=True)


def test_without_a_host(root) -> None:
    """No Open vSwitch, no xenstored: one line, exit code 1."""
    env = {'LC_ALL': 'C', 'PYTHONPATH': os.path.join(REPOSITORY, 'lib'), 'PATH': '/nowhere',
           'OVS_RUNDIR': str(root), 'XENSTORED_PATH': str(root / 'socket')}
    for words in (['status'], ['explain', 'a', 'b'], ['matrix'], ['sync']):
        done = subprocess.run([sys.executable, '-m', 'xsisolate', *words], env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='ascii')
        assert done.returncode == 1 and not done.stdout, done
        assert done.stderr.startswith('xsisolate: ovsdb-server cannot be reached at '), done
        assert done.stderr.count('\n') == 1
