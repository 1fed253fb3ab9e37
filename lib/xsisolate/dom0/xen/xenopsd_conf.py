"""Which hooks xenopsd will run: its configuration, read as xenopsd itself reads it.

Arguments of the process first, then the main file, then *every* file of a folder
in byte order, whatever its name ends in: `.rpmsave` and `~` count. A line is
`key = value`; what follows a # is gone, inside of values too; one pair of quotes
is taken off; unknown keys do not matter; the last one wins. A name without a
slash is looked for when it is read: on PATH, then along the search path so far.
xenopsd reads all this once, when it starts.
"""
import os
import re
from time import clock_gettime, time
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from xsisolate.paths import rooted

MAIN_FILE = '/etc/xenopsd.conf'
PROCESS = 'xenopsd-xc'
UNITS = ('/etc/systemd/system/xenopsd-xc.service', '/usr/lib/systemd/system/xenopsd-xc.service',
         '/lib/systemd/system/xenopsd-xc.service')
OPTIONS_FILE = '/etc/sysconfig/xenopsd'     # what the unit calls $XENOPSD_OPTIONS
PATH = ('/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin')      # systemd's
SETUP_VIF_RULES, VIF_SCRIPT, SEARCH_PATH = 'setup-vif-rules', 'vif-script', 'search-path'
HOOKS = (SETUP_VIF_RULES, VIF_SCRIPT)
BUILT_IN, ON_COMMAND_LINE = 'built in', 'command line'
SIZE_LIMIT = 1 << 20
CLOCK_BOOTTIME = 7      # Python 3.6 has no name for it
OPTION = re.compile(r'--?([a-z0-9-]+)(?:=(.*))?')


class Hook(NamedTuple):
    """What xenopsd will run for one of the two hooks."""

    path: str           # relative if xenopsd finds no such file
    where: str          # file:line that says so, `built in`, or `command line`


class XenopsdConfig(NamedTuple):
    """What xenopsd's configuration comes to for us."""

    setup_vif_rules: Hook
    vif_script: Hook
    files: Tuple[str, ...]          # what was read, in order
    folder: str                     # where drop-ins are read from
    pid: Optional[int]              # of the running xenopsd
    changed: Tuple[str, ...]        # files that are younger than the process


def read_xenopsd_config() -> XenopsdConfig:
    """Return what xenopsd runs, or would if it started now."""
    pid = find_process(PROCESS)
    argv = _read_argv(pid) if pid else _unit_argv()
    options = dict(_options(argv))
    main = options.get('config', MAIN_FILE)
    folder = options.get('config-dir', '/etc/%s.conf.d' % PROCESS)
    files = [path for path in [main] + _list_folder(folder) if os.path.isfile(rooted(path))]
    found = _resolve(options, files)
    started = _start_time(pid) if pid else None
    changed = tuple(path for path in files
                    if started and os.stat(rooted(path)).st_mtime > started)
    return XenopsdConfig(found[SETUP_VIF_RULES], found[VIF_SCRIPT], tuple(files), folder, pid,
                         changed)


def parse_lines(text: str) -> Iterator[Tuple[int, str, str]]:
    """Yield (line, key, value) of a configuration file.

    >>> list(parse_lines('a = "b" # c'))
    [(1, 'a', 'b')]
    """
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = line.partition('#')[0].partition('=')
        if equals:
            yield number, key.strip(), _unquote(value.strip())


def find_process(name: str) -> Optional[int]:
    """Return the pid of a program that runs, None if it does not."""
    folder = rooted('/proc')
    for pid in sorted(filter(str.isdigit, _names(folder)), key=int):
        words = _read('%s/%s/cmdline' % (folder, pid)).split('\0')
        if os.path.basename(words[0]) == name:
            return int(pid)
    return None


def read_start(pid: int) -> Optional[int]:
    """Return when a process started, in clock ticks since boot; None if it has ended."""
    status = _read('%s/%d/stat' % (rooted('/proc'), pid))
    return int(status.rsplit(')', 1)[1].split()[19]) if status else None


def _resolve(options: Dict[str, str], files: Sequence[str]) -> Dict[str, Hook]:
    """Return the hooks: built in, then the command line's, then the files'."""
    search: List[str] = options.get(SEARCH_PATH, '').split(':')
    # The built-in names are looked for after everything has been read.
    found = {key: Hook(_find(options[key], search), ON_COMMAND_LINE)
             for key in HOOKS if key in options}
    for path in files:
        for number, key, value in parse_lines(_read(rooted(path))):
            if key == SEARCH_PATH:
                search = value.split(':') + search
            elif key in HOOKS:
                found[key] = Hook(_find(value, search), '%s:%d' % (path, number))
    for key, name in ((SETUP_VIF_RULES, 'setup-vif-rules'), (VIF_SCRIPT, 'vif')):
        found.setdefault(key, Hook(_find(name, search), BUILT_IN))
    return found


def _find(name: str, search: Sequence[str]) -> str:
    """Return the file that a name stands for, the name itself if there is none."""
    if name.startswith('/'):
        return name
    paths = [os.path.join(folder, name) for folder in list(PATH) + list(search) if folder]
    return next((path for path in paths if os.path.exists(rooted(path))), name)


def _unit_argv() -> List[str]:
    """Return the arguments that the unit starts xenopsd with; the last ExecStart counts."""
    for unit in UNITS:
        text = _read(rooted(unit))
        drop_ins = ''.join('\n' + _read(rooted(path)) for path in _list_folder(unit + '.d')
                           if path.endswith('.conf'))
        commands = [line.partition('=')[2].split() for line in (text + drop_ins).splitlines()
                    if line.strip().startswith('ExecStart=') and line.partition('=')[2].strip()]
        if text and commands:
            return [word for word in commands[-1] if not word.startswith('$')] + _more_options()
    return []


def _more_options() -> List[str]:
    return [word for _, key, value in parse_lines(_read(rooted(OPTIONS_FILE)))
            if key == 'XENOPSD_OPTIONS' for word in value.split()]


def _options(argv: Sequence[str]) -> Iterator[Tuple[str, str]]:
    """Yield the options of a command line: `--key=value` and `--key value`."""
    for word, following in zip(argv, list(argv[1:]) + ['']):
        match = OPTION.fullmatch(word)
        if match:
            yield match.group(1), match.group(2) if match.group(2) is not None else following


def _read_argv(pid: int) -> List[str]:
    return _read('%s/%d/cmdline' % (rooted('/proc'), pid)).rstrip('\0').split('\0')


def _start_time(pid: int) -> Optional[float]:
    """Return it as files' times are; that of /proc/PID itself is the time of the first look."""
    ticks = read_start(pid)
    boot = time() - clock_gettime(CLOCK_BOOTTIME)
    return None if ticks is None else boot + ticks / os.sysconf('SC_CLK_TCK')


def _list_folder(folder: str) -> List[str]:
    """Return the files of a folder in byte order."""
    return ['%s/%s' % (folder, name)
            for name in sorted(_names(rooted(folder)), key=os.fsencode)]


def _names(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read(SIZE_LIMIT)
    except OSError:
        return ''


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in '"\'':
        return value[1:-1]
    return value
