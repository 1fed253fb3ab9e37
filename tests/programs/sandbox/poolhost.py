"""A host of a pool: a sandbox Dom0 in a process and namespaces of its own, told what to do.

Two sandboxes in one process would share the network namespace, and both have a vif1.0.
"""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import ExitStack
from multiprocessing import Pipe, reduction
from multiprocessing.connection import Connection
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from sandbox.enter import MS_REC, enter, mark, mount
from sandbox.hooks import REPOSITORY, Hooks
from sandbox.host import take_answer
from sandbox.metadata import VifRecord
from sandbox.networkd import Network
from sandbox.pinging import pinging
from sandbox.process import LabError, die_with_parent, ip
from sandbox.dom0 import Sandbox
from sandbox.toolstack import temporary_uuid
from sandbox.uplink import GatewayAddresses
from sandbox.vm import GuestAddresses, Vm

BRIDGE = 'xenbr0'
GATEWAY = GatewayAddresses('00:00:5e:00:01:01', '10.9.0.254/24', 'fd00:9::1/64')
XAPI_FOLDER, INVENTORY = '/var/lib/xcp', '/etc/xensource-inventory'
SECRET = '/etc/xensource/ptoken'
POOL_SECRET = '/'.join(['6c8d0a5e-8a4f-2c61-1c5b-6f2f5a3f8c77'] * 3)
PLUGIN = '/etc/xapi.d/plugins/xsisolate'
REAL_ETC, OWN_ETC = '/run/etc.machine', '/run/etc.host'
MS_BIND = 4096
PATH = '/usr/sbin:/usr/bin:/sbin:/bin'
ANSWER_TIMEOUT_S = 90


class GuestVif(NamedTuple):
    """A VIF's record, and what its guest configures."""

    record: VifRecord
    addresses: Tuple[str, ...]
    gateways: Tuple[str, ...]


class Inside:
    """The host's own side; the public methods are what it can be told."""

    def __init__(self, uuid: str, python: str) -> None:
        enter()
        cover_xapi(uuid)
        self.python = python
        self.sandbox = Sandbox(Hooks(python))
        self.sandbox.__enter__()
        self.vms: Dict[str, Vm] = {}
        self._pinging = ExitStack()

    def install(self, checkout: str) -> None:
        """Have another release's hooks and plugin answer; what runs goes on."""
        self.sandbox.hooks.folder = os.path.join(checkout, 'hooks')
        os.unlink(PLUGIN)
        os.symlink(plugin_of(checkout), PLUGIN)

    def call_hooks(self, folder: str, as_they_are: bool) -> None:
        """Have udev and xenopsd call the hooks of a folder; `as_they_are`: by their first line."""
        hooks, toolstack = self.sandbox.hooks, self.sandbox.toolstack
        hooks.folder, hooks.interpreter = folder, None if as_they_are else self.python
        toolstack.setup_vif_rules, toolstack.vif_script = (
            hooks.path('setup-vif-rules'), hooks.path('vif'))

    def listen(self) -> socket.socket:
        """Return a socket that listens where XAPI does on this host."""
        listener = socket.socket(socket.AF_UNIX)
        path = XAPI_FOLDER + '/xapi'
        if os.path.exists(path):
            os.unlink(path)
        listener.bind(path)
        listener.listen(64)
        return listener

    def close(self) -> None:
        """Take the host down."""
        self.sandbox.close()

    def configure(self, text: str) -> None:
        """Write the product's configuration file."""
        self.sandbox.configure(text)

    def add_network(self) -> int:
        """Make the physical network; return the pid of the switch in its middle."""
        self.sandbox.add_bridge(BRIDGE)
        return self.sandbox.add_uplink(BRIDGE, GATEWAY).switch_pid

    def join_network(self, switch_pid: int, port: str) -> None:
        """Be cabled to a switch that another host has made."""
        self.sandbox.add_bridge(BRIDGE)
        ip(['link add eth0 type veth peer name %s netns %d' % (port, switch_pid),
            'link set eth0 up'])
        self.sandbox.add_port(BRIDGE, 'eth0')

    def take_cable(self, port: str) -> None:
        """Plug another host's cable into the switch."""
        self.sandbox.uplinks[BRIDGE].plug_in(port)

    def start_vm(self, uuid: str, name: str, data: Mapping[str, str],
                 vifs: Sequence[GuestVif], final: str = '') -> int:
        """Start a VM with all its VIFs, or with `final` one that arrives by migration."""
        vm = self.sandbox.start_domain(name, uuid, data)
        if final:
            self.sandbox.store.write('/vm/%s/final-uuid' % uuid, final)
        for vif in vifs:
            vm.add_vif(vif.record, GuestAddresses(vif.addresses, vif.gateways))
        self.vms[final or uuid] = vm
        vm.plug()
        vm.serve()
        return vm.domid

    def stop_vm(self, uuid: str) -> Dict[str, str]:
        """Shut a VM down; return what its vm-data said at last."""
        vm = self.vms.pop(uuid)
        data = self.sandbox.toolstack.vm_data(vm.domain)
        vm.shutdown()
        return dict(data)

    def depart(self, uuid: str) -> None:
        """End a migration from here."""
        self.vms.pop(uuid).depart()

    def arrive(self, uuid: str) -> None:
        """End a migration to here."""
        self.vms[uuid].arrive()

    def vm_data(self) -> Dict[str, Dict[str, str]]:
        """Return the vm-data of all VMs, the guests' words among them."""
        return {uuid: dict(self.sandbox.toolstack.vm_data(vm.domain))
                for uuid, vm in self.vms.items()}

    def set_vm_data(self, uuid: str, data: Mapping[str, str]) -> None:
        """xenopsd's VM.set_xsdata."""
        self.vms[uuid].set_vm_data(data)

    def set_vif(self, uuid: str, devid: int, fields: Mapping[str, Any]) -> None:
        """Write a VIF's metadata; no hook runs."""
        self.vms[uuid].set_vif(devid, **fields)

    def lock_vif(self, uuid: str, devid: int, fields: Mapping[str, Any]) -> None:
        """xenopsd's VIF.set_locking_mode: it runs the script."""
        vm = self.vms[uuid]
        vm.set_vif(devid, **fields)
        vm.fire(self.sandbox.hooks.locking_changed(vm.domain, vm.vifs[devid]))

    def guest_writes(self, uuid: str, key: str, value: str) -> None:
        """Let the root of a guest write below its own folder."""
        self.vms[uuid].xenstore.write(key, value)

    def ask(self, uuid: str, method: str, *args: Any) -> Any:
        """Return what a method of the VM's machine returns: ping, udp, ..."""
        return getattr(self.vms[uuid], method)(*args)

    def start_pings(self, uuid: str, address: str) -> None:
        """Have a VM ping an address, 250 times a second, until `stop_pings`; it does no more."""
        self._pings = self._pinging.enter_context(pinging(self.vms[uuid], address))

    def stop_pings(self) -> Tuple[int, List[int]]:
        """Return how many pings were sent, and the numbers of those without an answer."""
        self._pinging.close()
        return self._pings.sent, self._pings.lost

    def flows(self) -> List[str]:
        """Return the product's flows."""
        return self.sandbox.ovs.dump_flows(BRIDGE, '-O', 'OpenFlow14')

    def ovs(self, method: str, *args: str) -> Any:
        """Return what a method of the switch returns."""
        return getattr(self.sandbox.ovs, method)(*args)

    def send_frame(self, uuid: str, frame: bytes) -> None:
        """Let a VM send a frame as it stands."""
        self.vms[uuid].send(frame)

    def plug_pif(self, other_config: Mapping[str, str]) -> None:
        """xapi's PIF.plug: networkd is told the other_config of pool, network and PIF."""
        self.sandbox.networkd.plug_pif(BRIDGE, 'eth0', Network(
            self.sandbox.network_uuid(BRIDGE), other_config))

    def outsider(self, mac: str, ipv4: str) -> None:
        """Add a machine to the physical network."""
        self._outsider = self.sandbox.uplinks[BRIDGE].add_host('outsider', mac, ipv4)

    def outsider_pings(self, address: str, timeout: float) -> bool:
        """Tell whether an address answers that machine."""
        return self._outsider.ping(address, timeout)


def cover_xapi(uuid: str) -> None:
    """Give this host an XAPI folder and an inventory that no other sees."""
    os.makedirs(XAPI_FOLDER, exist_ok=True)
    mount(mark(), XAPI_FOLDER, 'tmpfs')
    cover_etc()
    with open(INVENTORY, 'w') as file:
        file.write("PRODUCT_BRAND='XCP-ng'\nINSTALLATION_UUID='%s'\n" % uuid)
    os.makedirs(os.path.dirname(SECRET), exist_ok=True)
    with open(os.open(SECRET, os.O_WRONLY | os.O_CREAT, 0o600), 'w') as file:
        file.write(POOL_SECRET)
    os.makedirs(os.path.dirname(PLUGIN), exist_ok=True)
    os.symlink(plugin_of(REPOSITORY), PLUGIN)


def plugin_of(checkout: str) -> str:
    """Return the path of a release's plugin."""
    return os.path.join(checkout, 'rpm', 'plugin', 'xsisolate')


def cover_etc() -> None:
    """Give this host an /etc of its own, with links to what is in the machine's."""
    os.makedirs(REAL_ETC)
    os.makedirs(OWN_ETC)
    mount('/etc', REAL_ETC, None, MS_BIND | MS_REC)
    mount(mark(), OWN_ETC, 'tmpfs')
    for name in os.listdir('/etc'):
        if name != os.path.basename(INVENTORY):
            os.symlink(os.path.join(REAL_ETC, name), os.path.join(OWN_ETC, name))
    mount(OWN_ETC, '/etc', None, MS_BIND)


class PoolHost:
    """A host as the pool sees it: orders go through a pipe, programs run in its namespaces."""

    def __init__(self, name: str, uuid: str, python: str = '') -> None:
        self.name, self.uuid = name, uuid
        self.python = python or os.environ.get('HOOK_PYTHON') or sys.executable
        self.release = REPOSITORY       # a checkout of what is installed
        self._lock = threading.Lock()
        self._pipe, theirs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._pipe.close()
                serve(theirs, uuid, self.python)
            finally:
                os._exit(0)
        theirs.close()
        self._answer()

    def call(self, method: str, *args: Any) -> Any:
        """Have the host do something; return what it returns."""
        with self._lock:
            if not self.pid:
                raise LabError('%s is down' % self.name)
            self._pipe.send((method, args))
            return self._answer()

    def install(self, checkout: str) -> None:
        """Have another release's hooks, commands and plugin answer from now on."""
        self.call('install', checkout)
        self.release = checkout

    def listen(self) -> socket.socket:
        """Return a socket that listens at XAPI's path on the host."""
        with self._lock:
            self._pipe.send(('listen', ()))
            self._answer()
            return socket.socket(fileno=reduction.recv_handle(self._pipe))

    def _answer(self) -> Any:
        return take_answer(self._pipe, self.name, ANSWER_TIMEOUT_S)

    def halt(self, politely: bool = True) -> None:
        """Take the host down, or let it die."""
        if politely and self.pid:
            self.call('close')
        with self._lock:
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self._pipe.close()
                self.pid = 0

    def argv(self, *words: str) -> List[str]:
        """Return what runs a program on the host."""
        return ['nsenter', '-t', str(self.pid), '-m', '-n', '--', *words]

    def environment(self, **more: str) -> Dict[str, str]:
        """Return what programs on the host find in their environment."""
        return dict({'PATH': PATH, 'LC_ALL': 'C', 'PYTHONPATH': os.pathsep.join(
            [os.path.join(self.release, 'lib'),
             os.path.join(REPOSITORY, 'tests', 'programs', 'sandbox', 'plugins')])}, **more)

    def run(self, *words: str, stdin: Optional[str] = None,
            **environ: str) -> 'subprocess.CompletedProcess[str]':
        """Run `xsisolate ...` on the host."""
        return self.execute([self.python, '-m', 'xsisolate', *words], stdin, **environ)

    def execute(self, argv: Sequence[str], stdin: Optional[str] = None,
                **environ: str) -> 'subprocess.CompletedProcess[str]':
        """Run a program on the host."""
        return subprocess.run(
            self.argv(*argv), env=self.environment(**environ), cwd='/', timeout=120,
            input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8', errors='replace')

    def start_daemon(self) -> 'Daemon':
        """Start `xsisolate watch` on the host."""
        return Daemon(self)


class Daemon:
    """The daemon of one host."""

    def __init__(self, host: PoolHost) -> None:
        self._text = ''
        self._stderr = tempfile.TemporaryFile(prefix='watch_')
        self.process = subprocess.Popen(
            host.argv(host.python, '-m', 'xsisolate', 'watch'), cwd='/', env=host.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._stderr,
            preexec_fn=die_with_parent)

    def said(self) -> str:
        """Return what it has written by now."""
        if self._stderr.closed:
            return self._text
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode('utf-8', 'replace')

    def lines(self, *words: str) -> List[str]:
        """Return its lines with these words."""
        return [line for line in self.said().splitlines() if all(word in line for word in words)]

    def stop(self) -> int:
        """End it as systemd does; return its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(8)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait() or -1
        self._text = self.said()
        self._stderr.close()
        return code


def serve(pipe: 'Connection', uuid: str, python: str) -> None:
    """Be a host until the pipe is closed."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inside = None
    try:
        inside = Inside(uuid, python)
        pipe.send((True, None))
        while True:
            method, args = pipe.recv()
            try:
                result = getattr(inside, method)(*args)
                if isinstance(result, socket.socket):
                    pipe.send((True, None))
                    reduction.send_handle(pipe, result.fileno(), os.getppid())
                    result.close()
                else:
                    pipe.send((True, result))
            except Exception:
                pipe.send((False, traceback.format_exc()))
    except (EOFError, OSError):
        pass
    except Exception:
        pipe.send((False, traceback.format_exc()))


def arriving_vifs(uuid: str, vifs: Sequence[GuestVif]) -> List[GuestVif]:
    """Return VIFs as they are at a migration's destination: xenopsd rewrites the uuid."""
    temporary = temporary_uuid(uuid)
    return [vif._replace(record=vif.record._replace(other_config={
        key: value.replace(uuid, temporary) for key, value in vif.record.other_config.items()}))
        for vif in vifs]
