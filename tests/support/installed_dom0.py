"""A Dom0 on which packages are installed: who is called is what rpm and xsisolate have left.

udev's side is asked of the real udev, xenopsd's of the stand-in that reads its configuration.
"""
import os
import re
import shutil
import subprocess
from typing import Dict, List, NamedTuple, Sequence, Set, Tuple

from sandbox import seals
from sandbox.hooks import Call, Hooks
from sandbox.process import ip, run
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.package_root import PACKAGES, STANDIN, Rpm, read, written

OURS, STOCK = '/usr/libexec/xsisolate', '/usr/libexec/xenopsd'
RULES_FOLDER = '/etc/udev/rules.d'
PRIVATE_FOLDERS = ('/etc/xsisolate', '/etc/xapi.d')     # of the sandbox; here the root is private
HOST_UUID = '5f2c09d1-0a1b-4c2d-8e3f-4a5b6c7d8e9f'      # standin/xensource-inventory
RESTART = '/opt/xensource/bin/xe-toolstack-restart'
# what Dom0's own Python compiles: no package can know its version
COMPILED = re.compile(r'/usr/share/xsisolate/[0-9.]+-[0-9]+/.*__pycache__')
UDEV_EVENTS = (('vif', 'online'), ('vif', 'move'), ('vif', 'remove'),
               ('tap', 'add'), ('tap', 'move'), ('tap', 'remove'))
OUR_COOKIE = 'cookie=0x5849534f00000000/0xffffffff00000000'


class InstalledHooks(Hooks):
    """The hooks that udev's rules and xenopsd's memory name, run by their first line."""

    def __init__(self) -> None:
        super().__init__(interpreter=None, folder=STOCK)
        self._rules: Tuple[object, ...] = ()
        self._commands: Dict[Tuple[str, str], List[str]] = {}

    def _argv(self, call: Call) -> List[str]:
        if 'ACTION' in call.environment:
            kind = call.args[1].partition('=')[2]
            return self.udev_command(kind, call.args[0]) or ['/bin/true']
        return [self.xenopsd_path(call.hook)] + list(call.args)

    def xenopsd_path(self, hook: str) -> str:
        """Return what the xenopsd that runs has read at its start."""
        rules, vif = read(STANDIN + '/xenopsd').split()
        return rules if hook == 'setup-vif-rules' else vif

    def udev_command(self, kind: str, action: str) -> List[str]:
        """Return the hook that udev would run for an event, with its arguments."""
        commands = [command for command in self.udev_commands(kind, action)
                    if '/vif ' in command]
        assert len(commands) <= 1, commands
        return commands[0].split() if commands else []

    def udev_commands(self, kind: str, action: str) -> List[str]:
        """Return all that the real udev would run for an event.

        There is no xen-backend bus here: for a VIF the rules are asked as if they were
        written for network devices.
        """
        rules = {name: read(os.path.join(RULES_FOLDER, name))
                 for name in sorted(os.listdir(RULES_FOLDER))}
        if rules != self._rules:
            self._rules, self._commands = rules, {}     # type: ignore[assignment]
        if (kind, action) not in self._commands:
            self._commands[kind, action] = ask_udev(rules, kind, action)
        return self._commands[kind, action]


def ask_udev(rules: Dict[str, str], kind: str, action: str) -> List[str]:
    """Have the real udev say what it would run."""
    shutil.rmtree('/run/udev/rules.d', ignore_errors=True)
    os.makedirs('/run/udev/rules.d')
    if kind == 'vif':
        for name, text in rules.items():
            with open('/run/udev/rules.d/' + name.replace('.rules', '-net.rules'), 'w') as file:
                file.write(text.replace('"xen-backend"', '"net"'))
    ip(['link add %s999.0 type veth peer name peer999' % kind])
    try:
        done = subprocess.run(['udevadm', 'test', '--action=' + action,
                               '/sys/class/net/%s999.0' % kind], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, encoding='utf-8', check=True)
    finally:
        ip(['link del %s999.0' % kind])
        shutil.rmtree('/run/udev/rules.d')
    return re.findall(r"^run: '(.*)'$", done.stdout, re.M)


class Answering(NamedTuple):
    """Who answers: the folder of the hooks that each caller would run."""

    udev: Tuple[str, ...]           # of all events, each once
    next_xenopsd: Tuple[str, ...]   # one that starts now
    this_xenopsd: Tuple[str, ...]   # the one that runs
    keys: Tuple[str, ...]           # of plugged VIFs, for their unplugging
    units: Tuple[str, ...]          # enabled and running


class Dom0:
    """The sandbox with packages in it, and what tests do to it."""

    def __init__(self, host: Sandbox, hooks: InstalledHooks) -> None:
        self.host = host
        self.hooks = hooks
        self.transcript: List[str] = []
        self.before: Set[str] = set()
        self.clean: Dict[str, object] = {}

    # --- an admin's commands ---

    def rpm(self, *args: str, code: int = 0) -> str:
        """Run rpm; fail if it does not end as expected."""
        done = Rpm(*args)
        self.transcript.append('# rpm %s\n%s' % (' '.join(args), done.output))
        assert done.code == code, done
        assert 'scriptlet failed' not in done.output or code, done
        return done.output

    def xsisolate(self, *args: str, code: int = 0) -> str:
        """Run the command as root's shell does; fail if it does not end as expected."""
        done = subprocess.run(['/usr/bin/xsisolate', *args], stdin=subprocess.DEVNULL, cwd='/',
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              encoding='utf-8', timeout=120,
                              env={'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root'})
        self.transcript.append('# xsisolate %s\n%s' % (' '.join(args), done.stdout))
        assert done.returncode == code, (done.returncode, done.stdout)
        assert 'Traceback' not in done.stdout
        return done.stdout

    def restart_toolstack(self) -> None:
        """Let xenopsd read its configuration."""
        run([RESTART])
        self.remember()

    def remember(self) -> None:
        """Let the sandbox's toolstack write what the xenopsd that runs would."""
        self.host.toolstack.setup_vif_rules = self.hooks.xenopsd_path('setup-vif-rules')
        self.host.toolstack.vif_script = self.hooks.xenopsd_path('vif')

    def calls(self) -> List[str]:
        """Return what stand-ins have been called for since the last time."""
        path = STANDIN + '/calls'
        lines = read(path).splitlines() if os.path.exists(path) else []
        with open(path, 'w'):
            return lines

    def answer(self, ha: str = 'false', tasks: Sequence[str] = (),
               elsewhere: Sequence[str] = (), master: str = HOST_UUID) -> None:
        """Say what XAPI says: of tasks on this host, and of those on other members."""
        answers = {'ha': ha, 'master': master}
        for suffix, found in (('.here', tasks), ('', [*tasks, *elsewhere])):
            answers['names' + suffix] = ','.join(task.replace(',', '\\,') for task in found)
            answers['uuids' + suffix] = ','.join('%08d-0000-0000-0000-000000000000' % number
                                                 for number, _ in enumerate(found))
        for name, text in answers.items():
            with open('%s/%s' % (STANDIN, name), 'w') as file:
                file.write(text + '\n')

    # --- what is there ---

    def answering(self) -> Answering:
        """Return who answers now."""
        udev = [self.hooks.udev_command(*event) for event in UDEV_EVENTS]
        assert all(udev), udev
        store = self.host.store
        keys = ['/xapi/%s/private/vif/%s/setup-vif-rules' % (vm.uuid, devid)
                for vm in self.host.vms for devid in vm.plugged]
        return Answering(folders(command[0] for command in udev), folders(next_xenopsd()),
                         folders(self.hooks.xenopsd_path(hook) for hook in (
                             'setup-vif-rules', 'vif')),
                         folders(store.read(key) for key in keys), self.units())

    def units(self) -> Tuple[str, ...]:
        """Return the units that are enabled and run."""
        found = [set(os.listdir('%s/%s' % (STANDIN, state)))
                 if os.path.isdir('%s/%s' % (STANDIN, state)) else set()
                 for state in ('enabled', 'active')]
        assert found[0] == found[1], found
        return tuple(sorted(found[0]))

    def flows(self, cookie: str = OUR_COOKIE) -> List[str]:
        """Return the flows of ours on the bridge, or those with another cookie."""
        dump = self.host.ovs.ofctl('-O', 'OpenFlow14', '--no-stats', '--no-names', 'dump-flows',
                                   'xenbr0', cookie)
        return [line.strip() for line in dump.splitlines() if 'actions=' in line]

    def strays(self) -> Set[str]:
        """Return the files that have come since the root was made and that no package owns."""
        new = {path for path in written() if path not in self.clean and not COMPILED.match(path)}
        return new - set(Rpm('-qal').output.splitlines())

    def changed(self) -> Set[str]:
        """Return what is otherwise than when the root was made, as after a removal nothing is."""
        now = written()
        return {path for path in now.keys() | self.clean.keys()
                if now.get(path, '') != self.clean.get(path, '')}


def next_xenopsd() -> Sequence[str]:
    """Return the scripts that xenopsd would call if it started now; it must be able to."""
    unit = read('/usr/lib/systemd/system/xenopsd-xc.service')
    arguments = unit.split('ExecStart=')[1].split()[1:]
    return run(['/usr/sbin/xenopsd-xc', *arguments, '--only-tell']).split()


def folders(paths: object) -> Tuple[str, ...]:
    """Return the folders of executable files, each once."""
    found = sorted({str(path) for path in paths})       # type: ignore[attr-defined]
    for path in found:
        assert os.access(path, os.X_OK), path
    return tuple(sorted({os.path.dirname(path) for path in found}))


def start_vm(host: Sandbox, number: int, group: str = '', **more: object) -> Vm:
    """Start a VM with an address of that number, and a sealed policy if it is in a group."""
    policy = {'groups': group, 'vif/0/ipv4': '10.9.0.%d' % number} if group else None
    return host.start_vm('%s%d' % (group or 'vm', number), ipv4='10.9.0.%d/24' % number,
                         policy=policy, **more)


def make_sandbox() -> Tuple[Sandbox, InstalledHooks]:
    """Return a sandbox whose hooks are the installed ones."""
    hooks = InstalledHooks()
    return Sandbox(hooks, sealer=seals.seal), hooks


def packages(*names: str) -> List[str]:
    """Return the paths of packages in the root."""
    return [os.path.join(PACKAGES, name) for name in names]
