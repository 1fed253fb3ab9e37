"""The pages of docs/: configurations are valid, commands parse, links lead on, numbers are true."""
import argparse
import ast
import os
import re
import shlex
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Tuple

import pytest

from xsisolate.cli import build_parser
from xsisolate.cli.set import OPTIONS
from xsisolate.config import check, load, schema, yaml_document
from xsisolate.dataplane.vif_facts import POLICY_KEYS_MAX
from xsisolate.diagnostics.doctor import OLD_S
from xsisolate.dom0.run_files import group_members
from xsisolate.dom0.xen import vif_metadata
from xsisolate.errors import EXIT_USAGE, PolicyError
from xsisolate.pipeline.peer_lookup import OWNERS_MAX
from xsisolate.policy import service, vmdata_parser
from xsisolate.policy.model import ROLES, Config, Mode
from xsisolate.policy.seal import Sealing
from xsisolate.policy.vmdata_writer import VALUE_MAX, parse_words

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / 'docs'
INDEX = DOCS / 'roles' / 'README.md'
ROLE_PAGES = sorted(set((DOCS / 'roles').glob('*.md')) - {INDEX})
LIMITS, GLOSSARY = DOCS / 'limits.md', DOCS / 'glossary.md'
NEW_PAGES = [*ROLE_PAGES, INDEX, LIMITS, GLOSSARY, DOCS / 'troubleshooting.md', DOCS / 'rollout.md']
PAGES = sorted({*DOCS.glob('*.md'), *NEW_PAGES, ROOT / 'README.md'})
ALL_PAGES = sorted({*PAGES, *DOCS.rglob('*.md')})
WIDTH = 100             # columns of prose; what programs print may be wider
CELL = 72               # characters of a table's cell
SHORT = 45              # columns of a line that goes on in the next one
SENTENCE_END = re.compile(r'[.:;?!][)"\'*`]*$')
OTHER = re.compile(r' *([-*|#><]|\d+\.|```)')
MIB = 1 << 20


class Block(NamedTuple):
    """A fenced block: its language, the number of its first line, and its lines."""

    language: str
    line: int
    lines: Tuple[str, ...]


def name_of(page: Path) -> str:
    """Return a page's name below the repository."""
    return str(page.relative_to(ROOT))


def read_lines(page: Path) -> List[str]:
    """Return the lines of a page."""
    return page.read_text(encoding='utf-8').splitlines()


def find_blocks(page: Path) -> List[Block]:
    """Return the fenced blocks of a page."""
    lines = read_lines(page)
    fences = [number for number, line in enumerate(lines) if line.startswith('```')]
    assert len(fences) % 2 == 0, '%s: a block does not end' % name_of(page)
    return [Block(lines[first][3:].strip(), first + 2, tuple(lines[first + 1:last]))
            for first, last in zip(fences[::2], fences[1::2])]


def find_prose(page: Path) -> Iterator[Tuple[int, str]]:
    """Yield the lines outside of blocks, each with its number."""
    inside = False
    for number, line in enumerate(read_lines(page), 1):
        if line.startswith('```'):
            inside = not inside
        elif not inside:
            yield number, line


# --- configurations --------------------------------------------------------------------------


def is_whole(block: Block) -> bool:
    """Tell whether a block is a whole configuration; older pages show parts of one, too."""
    return block.language == 'yaml' and block.lines[0].startswith('version:')


CONFIGURATIONS = {'%s:%d' % (name_of(page), block.line): '\n'.join(block.lines) + '\n'
                  for page in PAGES for block in find_blocks(page) if is_whole(block)}


@pytest.mark.parametrize('place', sorted(CONFIGURATIONS))
def test_a_configuration_on_a_page_passes_check(place: str) -> None:
    assert check.check_text(CONFIGURATIONS[place], place) == check.Checked((), ())


@pytest.mark.parametrize('page', NEW_PAGES, ids=name_of)
def test_configurations_are_whole_so_that_they_are_checked(page: Path) -> None:
    assert all(is_whole(block) for block in find_blocks(page) if block.language == 'yaml')


# --- commands --------------------------------------------------------------------------------


LINE = re.compile(r'(?:\[.*\])?[#$]? ?(?:[A-Z_]+=\S+ )?(xsisolate [a-z-].*)')
CUT = re.compile(r'\.\.\.|…')


def find_lines(page: Path) -> Iterator[str]:
    """Yield the command lines in the blocks of a page."""
    for block in find_blocks(page):
        for line in '\n'.join(block.lines).replace('\\\n', ' ').splitlines():
            found = LINE.match(line) if not block.language else None
            if found:
                yield from re.findall(r'xsisolate [^&]*', found.group(1))


def find_words(page: Path) -> Iterator[str]:
    """Yield what pages say of commands within a sentence."""
    for _, line in find_prose(page):
        yield from re.findall('`(xsisolate [a-z-][^`]*)`', line)


def parse_line(line: str) -> None:
    """Parse a command line, and the policy in it."""
    words = shlex.split(line, comments=True)[1:]
    found = build_parser(words[0]).parse_args(words)
    if found.command == 'set':
        parse_words({name: getattr(found, name) for name, _, _ in OPTIONS
                     if getattr(found, name) is not None}, '0')


def check_words(line: str) -> None:
    """See that a command is there, and the flags that are named with it."""
    _, command, *words = line.split()
    if command != '--help' and command != '--version':
        parser = commands_of(build_parser())[command]
        below = commands_of(parser)
        if words and below and not words[0].startswith('-'):
            parser = below[words[0]]
        known = {flag for action in parser._actions for flag in action.option_strings}
        assert {word for word in words if word.startswith('-')} <= known, line


def commands_of(parser: argparse.ArgumentParser) -> Dict[str, argparse.ArgumentParser]:
    """Return the parsers of the commands below a parser, by name."""
    return {name: command for action in parser._actions
            if isinstance(action, argparse._SubParsersAction)
            for name, command in action.choices.items()}


@pytest.mark.parametrize('page, line', [
    (name_of(page), line) for page in PAGES for line in dict.fromkeys(find_lines(page))])
def test_a_command_line_on_a_page_parses(page: str, line: str) -> None:
    check_words(line) if CUT.search(line) else parse_line(line)


@pytest.mark.parametrize('page, line', [
    (name_of(page), line) for page in PAGES for line in dict.fromkeys(find_words(page))])
def test_a_command_in_a_sentence_is_there(page: str, line: str) -> None:
    check_words(line)


@pytest.mark.parametrize('line', [
    'xsisolate statsu', 'xsisolate set web --group red', 'xsisolate explain web',
    'xsisolate seal --all web'])
def test_a_mistake_in_a_command_line_would_be_found(line: str) -> None:
    with pytest.raises(SystemExit) as end:
        parse_line(line)
    assert end.value.code == EXIT_USAGE


def test_a_mistake_in_a_policy_would_be_found() -> None:
    with pytest.raises(PolicyError, match='not a service'):
        parse_line('xsisolate set web --allow tpc/443@external')


# --- what pages have ---------------------------------------------------------------------------


@pytest.mark.parametrize('page', ROLE_PAGES, ids=name_of)
def test_a_page_of_a_role_has_what_an_admin_needs(page: Path) -> None:
    heads = [line[3:] for _, line in find_prose(page) if line.startswith('## ')]
    assert heads[:3] == ['Configuration', 'Commands', 'When it is right']
    assert heads[-1] == 'What does not work yet'
    assert any(is_whole(block) for block in find_blocks(page))
    commands = {line.split()[1] for line in (*find_lines(page), *find_words(page))}
    assert {'status', 'explain'} <= commands and commands & {'set', 'seal'}


def test_there_is_a_page_for_each_role() -> None:
    assert [page.stem for page in ROLE_PAGES] == [
        'backups', 'dhcp-tenants', 'firewall-vm', 'kubernetes-nodes', 'load-balancers',
        'private-network', 'public-addresses', 'templates', 'windows-guests']


def targets(page: Path) -> Iterator[Tuple[int, str]]:
    """Yield the links of a page to files, each with its line."""
    for number, line in find_prose(page):
        for target in re.findall(r'\]\(([^)]+)\)', line):
            if '://' not in target:
                yield number, target


def resolve(page: Path, target: str) -> Path:
    """Return the file that a link leads to."""
    path = target.partition('#')[0]
    return Path(os.path.normpath(str(page.parent / path))) if path else page


def anchors(page: Path) -> List[str]:
    """Return what a link may name behind #, as code hosts make it of headings."""
    heads = [line.lstrip('#').strip() for _, line in find_prose(page) if line.startswith('#')]
    return [re.sub(r'[^\w\- ]', '', head.lower()).replace(' ', '-') for head in heads]


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for number, target in targets(page):
        other, anchor = resolve(page, target), target.partition('#')[2]
        assert other.exists(), '%s:%d: %s' % (name_of(page), number, target)
        assert not anchor or anchor in anchors(other), '%s:%d: %s' % (
            name_of(page), number, target)


@pytest.mark.parametrize('start', ['README.md', 'docs/admin-guide.md'])
def test_a_reader_finds_the_pages(start: str) -> None:
    """From the page itself, or from the list of roles that it leads to."""
    seen = {resolve(page, target) for page in (ROOT / start, INDEX) for _, target in targets(page)}
    assert set(NEW_PAGES) - {INDEX} <= seen
    assert INDEX in {resolve(ROOT / start, target) for _, target in targets(ROOT / start)}


# --- prose -------------------------------------------------------------------------------------


@pytest.mark.parametrize('page', NEW_PAGES, ids=name_of)
def test_lines_and_cells_are_short(page: Path) -> None:
    for number, line in find_prose(page):
        place = '%s:%d' % (name_of(page), number)
        assert len(line) <= WIDTH, place
        if line.startswith('|'):
            shown = re.sub(r'\]\([^)]*\)', ']', line)
            assert all(len(cell.strip()) <= CELL for cell in shown.split('|')), place


@pytest.mark.parametrize('page', ALL_PAGES, ids=name_of)
def test_no_line_breaks_off(page: Path) -> None:
    """A line has at most 100 columns, or whole sentences; a short one is what an edit has left."""
    prose = list(find_prose(page))
    for (number, line), (following, rest) in zip(prose, prose[1:]):
        if following == number + 1 and rest and not OTHER.match(rest) and not OTHER.match(line):
            place = '%s:%d' % (name_of(page), number)
            assert len(line) <= WIDTH or SENTENCE_END.search(line), place
            would_fit = len(line) + 1 + len(rest.split()[0]) <= WIDTH
            assert (not line or len(line) >= SHORT or SENTENCE_END.search(line)
                    or not would_fit), place


@pytest.mark.parametrize('page', ALL_PAGES, ids=name_of)
def test_a_target_of_make_is_there(page: Path) -> None:
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    for target in re.findall(r'`make ([a-z0-9-]+)', page.read_text(encoding='utf-8')):
        assert re.search('^%s:' % target, makefile, re.MULTILINE), target


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_what_is_not_there_yet_can_be_found(page: Path) -> None:
    """One line for each, so that it can be taken out when it is there."""
    for number, line in find_prose(page):
        if 'NOT YET' in line and '`NOT YET`' not in line:
            assert re.fullmatch(r' *\(NOT YET: [^()]+\.\)', line), '%s:%d' % (
                name_of(page), number)


# --- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize('what, number', [
    ('groups of a VIF', vmdata_parser.MAX_GROUPS),
    ('entries in `ipv4`', vmdata_parser.MAX_OWN),
    ('entries in `ipv6`', vmdata_parser.MAX_OWN),
    ('entries in `shared`', vmdata_parser.MAX_OWN),
    ('entries in `allow`', vmdata_parser.MAX_ALLOW),
    ('roles of a VIF', len(ROLES)),
    ('numbered keys of a list (`allow-1`, …)', vmdata_parser.MAX_CONTINUATIONS),
    ('bytes of a value that `set` writes', VALUE_MAX),
    ('bytes of a value that a hook reads', vmdata_parser.MAX_VALUE),
    ('keys in one folder of vm-data that a hook reads', POLICY_KEYS_MAX),
    ('number of a protocol (`ip/N`)', service.MAX_PROTOCOL),
    ('number of a type (`icmp/N`, `icmp6/N`)', service.MAX_TYPE),
    ('VIFs of a host that own a shared address', OWNERS_MAX),
    ('size of `xsisolate.yaml`', '%d MiB' % (load.MAX_SIZE // MIB)),
    ('depth of `xsisolate.yaml`', yaml_document.MAX_DEPTH),
    ('`grace`', '%d s' % schema.MAX_GRACE),
    ('`devid` in `gateways` and `dhcp_servers`', schema.MAX_DEVID),
    ('mistakes that `check` names in one run', check.ERRORS_MAX),
    ("size of a file with a group's members elsewhere",
     '%d MiB' % (group_members.SIZE_LIMIT // MIB)),
    ("size of a VIF's metadata", '%d MiB' % (vif_metadata.SIZE_LIMIT // MIB)),
    ('`grace`, where `xsisolate.yaml` does not say otherwise', '%d s' % Config().grace),
    ('knowledge of the pool that `doctor` calls old', '%d s' % OLD_S)])
def test_the_page_of_limits_says_what_the_code_has(what: str, number: object) -> None:
    assert '| %s | %s |' % (what, number) in read_lines(LIMITS)


@pytest.mark.parametrize('length', [63, 64])
def test_the_length_of_a_groups_name(length: int) -> None:
    assert '| characters of a group\'s name | 63 |' in read_lines(LIMITS)
    assert bool(vmdata_parser.GROUP_NAME.fullmatch('g' * length)) is (length <= 63)


# --- messages ----------------------------------------------------------------------------------


SAYS = {'the reason says', 'the answer says', 'message'}    # heads of the first column
TROUBLE = DOCS / 'troubleshooting.md'


def find_messages() -> Iterator[str]:
    """Yield the messages that the page of symptoms quotes in its tables."""
    head = ''
    for _, line in find_prose(TROUBLE):
        if not line.startswith('|'):
            head = ''
            continue
        cell = line.split('|')[1].strip()
        head = head or cell
        if head in SAYS and cell != head:
            yield from re.findall('`([^`]+)`', cell)


@pytest.fixture(scope='module')
def texts() -> str:
    """All texts in the library's code; one that goes on in the next line is one."""
    found = [vars(node).get('value', vars(node).get('s'))
             for path in sorted((ROOT / 'lib' / 'xsisolate').rglob('*.py'))
             for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))]
    return '\0'.join(text for text in found if isinstance(text, str))


@pytest.mark.parametrize('message', sorted(set(find_messages())))
def test_a_message_that_is_quoted_is_one_of_ours(texts: str, message: str) -> None:
    for part in message.split('…'):
        assert part.strip(' ,()') in texts, part


def test_messages_are_quoted() -> None:
    assert len(set(find_messages())) > 20 and 'is already that of' in ' '.join(find_messages())


# --- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize('word', [
    *(mode.word for mode in Mode), *ROLES, *(state.name.lower() for state in Sealing),
    'accepted', 'invalid'])
def test_the_glossary_has_the_words_of_the_code(word: str) -> None:
    assert any(line.startswith('| `%s` | ' % word) for line in read_lines(GLOSSARY)), word


def test_the_glossary_explains_a_word_once() -> None:
    words = [cell for _, line in find_prose(GLOSSARY) if line.startswith('| ')
             for cell in [line.split('|')[1].strip()]
             if cell not in ('word', 'mode', 'role', 'SEAL')]
    assert sorted(set(words)) == sorted(words)
