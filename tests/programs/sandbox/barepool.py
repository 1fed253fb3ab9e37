"""A pool of XAPI and nothing else: no Open vSwitch, no guests, but disks, over TLS on loopback.

    with BarePool('alpha', 11) as alpha, BarePool('beta', 12) as beta:
        web = alpha.add_vm('web', sizes=(64 << 20,))

For what goes from one pool to another: VMs that share neither network nor storage.
"""
import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import uuid as uuids
from types import TracebackType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

from sandbox.xapidb import NULL, Effects, Refused
from sandbox.xapiserver import XapiServer
from sandbox.xapitransfer import Faults, Handlers
from sandbox.xapivms import VmDatabase
from sandbox.xvastream import PIECE, Content

GIB = 1 << 30
ADDRESS = '127.0.%d.%d'     # of a pool's hosts


class BareVm(NamedTuple):
    """A VM of such a pool."""

    name: str
    uuid: str
    ref: str
    vifs: Tuple[str, ...]
    disks: Tuple[str, ...]


class BarePool(Effects):
    """A pool's XAPI: a master and perhaps members, which only serve what they are sent."""

    def __init__(self, name: str, number: int, members: int = 0, version: str = '3.4.0',
                 size: int = 4096 * GIB) -> None:
        self.name, self.number = name, number
        self.db = VmDatabase(self)
        self.faults = Faults()
        self.protected = True           # its hosts run xsisolate
        self.hosts: List[str] = []
        self.sends_to = ''              # the member that alone sees the disks
        self.port = 0
        self._servers: List[XapiServer] = []
        self._folder = tempfile.mkdtemp(prefix='xsisolate-bare-')
        self._count = 0
        self._fill(members, version, size)

    def __enter__(self) -> 'BarePool':
        try:
            for at in range(len(self.hosts)):
                self._open(at)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def close(self) -> None:
        """Take everything down."""
        self.die()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def alive(self) -> bool:
        """Tell whether it answers."""
        return bool(self._servers)

    def die(self) -> None:
        """Be gone, as after a power cut."""
        self.db.close()
        servers, self._servers = self._servers, []
        for server in servers:
            server.stop()

    def die_soon(self) -> None:
        """Be gone in a moment: for a handler of ours, which cannot wait for itself."""
        threading.Thread(target=self.die, daemon=True).start()

    def _fill(self, members: int, version: str, size: int) -> None:
        add = self.db.add
        self.network = add('network', name_label='Tenants', bridge='xenbr0',
                           default_locking_mode='unlocked')
        for at in range(members + 1):
            name = self.name + ('-%d' % at if at else '')
            host = add('host', name_label=name, hostname=name, enabled=True,
                       address=ADDRESS % (self.number, at + 1),
                       software_version={'platform_version': version, 'xapi': '26.1'})
            self.hosts.append(host)
            add('PIF', host=host, network=self.network, management=True, device='eth0')
        self.sr = self.add_sr('Local storage', size)
        add('pool', 'OpaqueRef:%s' % uuids.uuid4(), name_label='', master=self.hosts[0],
            default_SR=self.sr, other_config={})

    def add_sr(self, name: str, size: int, kind: str = 'ext', content: str = 'user') -> str:
        """Add a storage repository that all hosts see."""
        sr = self.db.add('SR', name_label=name, type=kind, content_type=content, PBDs=[],
                         physical_size=str(size), physical_utilisation='0', shared=True)
        plugs = [self.db.add('PBD', host=host, SR=sr, currently_attached=True)
                 for host in self.hosts]
        self.db.set('SR', sr, PBDs=plugs)
        return sr

    # --- doors -----------------------------------------------------------------------------

    def _open(self, at: int) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESS % (self.number, at + 1), self.port))
        self.port = listener.getsockname()[1]       # all hosts of a pool have one in common
        listener.listen(16)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate(at))
        handlers = Handlers(self.db.disks, self.faults,
                            lambda path: '' if at else self.sends_to)
        self._servers.append(XapiServer(listener, self.answer if not at else self._refuse, context,
                                        handlers))

    def listen(self, path: str) -> None:
        """Listen on a unix socket, too, as on the host itself."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(16)
        self._servers.append(XapiServer(listener, self._local, None, Handlers(
            self.db.disks, self.faults, lambda path: self.sends_to)))

    def answer(self, method: str, params: Sequence[Any]) -> Any:
        """Answer a message."""
        return self.db.answer(method, params)

    def _refuse(self, method: str, params: Sequence[Any]) -> Any:
        raise Refused('HOST_IS_SLAVE', ADDRESS % (self.number, 1))

    def _local(self, method: str, params: Sequence[Any]) -> Any:
        """Root's local session needs no password."""
        if method == 'session.login_with_password' and list(params[:2]) == ['root', '']:
            return self.db.open_session('pool-admin')
        return self.db.answer(method, params)

    @property
    def address(self) -> str:
        """Where its master listens."""
        return '%s:%d' % (ADDRESS % (self.number, 1), self.port)

    def member(self, at: int) -> str:
        """Return a member's address, without a port, as XAPI tells it."""
        return ADDRESS % (self.number, at + 1)

    def certificate(self, at: int = 0) -> str:
        """Return a file with a host's certificate and key."""
        path = os.path.join(self._folder, '%d.pem' % at)
        if not os.path.exists(path):
            subprocess.run(
                ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj',
                 '/CN=' + self.name, '-addext', 'subjectAltName=IP:' + self.member(at),
                 '-keyout', path, '-out', path + '.crt'], check=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with open(path, 'a') as file, open(path + '.crt') as certificate:
                file.write(certificate.read())
        return path

    def fingerprint(self, at: int = 0) -> str:
        """Return the SHA-256 of a host's certificate."""
        with open(self.certificate(at) + '.crt') as file:
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest().upper()

    # --- what it does ------------------------------------------------------------------------

    def call_plugin(self, host: str, plugin: str, fn: str, session: str,
                    args: Mapping[str, str]) -> str:
        """Run xsisolate's plugin, where it is installed."""
        if not self.protected:
            raise Refused('XENAPI_MISSING_PLUGIN', plugin)
        return '{"groups": {}, "pool": null}'

    def add_vm(self, name: str, sizes: Sequence[int] = (8 * PIECE,), used: int = 4,
               data: Optional[Mapping[str, str]] = None, running: bool = False,
               macs: Sequence[str] = (), **fields: Any) -> BareVm:
        """Add a VM with disks of these sizes, `used` pieces on each not zeros."""
        self._count += 1
        vm = self.db.add('VM', **{
            'name_label': name, 'name_description': '', 'power_state': 'Running' if running
            else 'Halted', 'resident_on': self.hosts[0] if running else NULL,
            'scheduled_to_be_resident_on': NULL, 'xenstore_data': dict(data or {}),
            'other_config': {'mac_seed': str(uuids.uuid4())}, 'is_a_template': False,
            'is_a_snapshot': False, 'is_control_domain': False, 'snapshots': [], 'VIFs': [],
            'VBDs': [], 'current_operations': {}, 'snapshot_of': NULL,
            'suspend_VDI': NULL, **fields})
        uuid = str(self.db.get('VM', vm)['uuid'])
        addresses = macs or ['02:%02x:00:00:%02x:00' % (self.number, self._count)]
        vifs = [self.db.add(
            'VIF', device=str(devid), VM=vm, network=self.network, other_config={}, MAC=mac,
            locking_mode='network_default', ipv4_allowed=[], ipv6_allowed=[],
            currently_attached=running) for devid, mac in enumerate(addresses)]
        disks = [self._add_disk(name, at, size, used) for at, size in enumerate(sizes)]
        vbds = [self.db.add('VBD', VM=vm, VDI=disk, type='Disk', userdevice=str(at), empty=False)
                for at, disk in enumerate(disks)]
        self.db.set('VM', vm, VIFs=vifs, VBDs=vbds)
        return BareVm(name, uuid, vm, tuple(vifs), tuple(disks))

    def _add_disk(self, name: str, at: int, size: int, used: int) -> str:
        last = max(1, size // PIECE - 1)
        pieces = tuple(range(0, last, max(1, last // max(1, used))))[:used]
        content = Content(size, self.number * 1000 + self._count * 10 + at, pieces)
        disk = self.db.add('VDI', name_label='%s %d' % (name, at), virtual_size=str(size),
                           physical_utilisation=str(content.used), SR=self.sr, VBDs=[])
        self.db.disks.contents[disk] = content
        self.db.disks.take(self.sr, content.used)
        return disk

    def suspend(self, vm: BareVm, size: int) -> None:
        """Suspend a VM: its memory becomes a disk that no VBD names."""
        image = self._add_disk(vm.name, 9, size, 3)
        self.db.set('VM', vm.ref, power_state='Suspended', suspend_VDI=image)

    def find(self, uuid: str) -> Optional[str]:
        """Return a VM by its uuid."""
        return next((ref for ref, record in self.db.objects['VM'].items()
                     if record['uuid'] == uuid), None)

    def contents(self, vm: str) -> List[Content]:
        """Return what is on a VM's disks, in their order."""
        vbds = [self.db.objects['VBD'][ref] for ref in self.db.objects['VM'][vm]['VBDs']]
        return [self.db.disks.contents[vbd['VDI']]
                for vbd in sorted(vbds, key=lambda vbd: str(vbd['userdevice']))]

    def state(self) -> Dict[str, Any]:
        """Return all that a failed move must leave as it was."""
        return {kind: sorted(self.db.objects[kind]) for kind in ('VM', 'VIF', 'VBD', 'VDI', 'task',
                                                                 'network')} | {
            'used': self.db.objects['SR'][self.sr]['physical_utilisation'],
            'sessions': sorted(self.db.sessions)}
