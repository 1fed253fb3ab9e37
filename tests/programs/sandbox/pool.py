"""A pool without XAPI: two sandbox hosts on one physical network, and a fake of XAPI that the real
XenAPI module talks to.

    with Pool() as pool:
        web = pool.start_vm('web', pool.hosts[0], number=11)
        pool.hosts[0].run('set', 'web', '--groups', 'red')
        pool.migrate(web, pool.hosts[1])

What reaches a domain is as on a host: VM.set_xenstore_data does, and makes the guest read-only;
add_to_xenstore_data and a lone change of VIF.other_config do not; xenopsd hears of metadata with
the VM's next event, a moment later; what a guest writes to its vm-data comes back into XAPI.
"""
import json
import os
import queue
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import uuid as uuids
import xmlrpc.client
from types import TracebackType
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

from sandbox.metadata import VifRecord
from sandbox.poolhost import BRIDGE, GATEWAY, PLUGIN, GuestVif, PoolHost, arriving_vifs
from sandbox.process import LabError
from sandbox.toolstack import temporary_uuid
from sandbox.xapidb import NULL, Effects, Refused
from sandbox.xapiserver import Cut, XapiServer
from sandbox.xapivms import VmDatabase

CONFIG = '''\
version: 1
grace: 2
networks:
  "*":
    subnets: [10.9.0.0/24, "fd00:9::/64"]
    gateways: [{ipv4: 10.9.0.254, ipv6: "fd00:9::1"}]
'''
EVENT_DELAY_S = 0.1         # until xapi has told xenopsd of an event
GUESTS_S = 0.1              # how often guests' vm-data is looked at
MANAGEMENT = '127.0.0.%d'   # a host's address, where the tests are
NAMES = ('alpha', 'beta')


class PoolVm(NamedTuple):
    """A VM of the pool."""

    name: str
    uuid: str
    ref: str
    vifs: Tuple[str, ...]
    number: int

    @property
    def ipv4(self) -> str:
        """Its first VIF's address."""
        return '10.9.0.%d' % self.number

    @property
    def ipv6(self) -> str:
        """Its first VIF's address."""
        return 'fd00:9::%d' % self.number


class Pool(Effects):
    """The pool: its database, its hosts, and what connects them."""

    def __init__(self, config: str = CONFIG, pythons: Sequence[str] = ('', '')) -> None:
        self.db = VmDatabase(self)
        self.hosts: List[PoolHost] = []
        self.refs: Dict[str, str] = {}          # of hosts, by name
        self.pifs: Dict[str, str] = {}          # of their PIFs, by name of the host
        self.master: Optional[PoolHost] = None
        self.fault: Optional[Callable[[str, Sequence[Any], bool], None]] = None
        self.port = 0
        self.vms: Dict[str, PoolVm] = {}
        self._config, self._names = config, list(zip(NAMES, pythons))
        self._servers: Dict[str, List[XapiServer]] = {}
        self._pushes: 'queue.Queue[Optional[Tuple[float, str]]]' = queue.Queue()
        self._threads: List[threading.Thread] = []
        self._stopped = threading.Event()
        self._last_vif = 0
        self._domains: Dict[str, Dict[str, str]] = {}       # vm-data as the guests last had it
        self._folder = tempfile.mkdtemp(prefix='xsisolate-pool-')

    # --- up and down -------------------------------------------------------------------------

    def __enter__(self) -> 'Pool':
        try:
            for name, python in self._names:
                self.hosts.append(PoolHost(name, str(uuids.uuid4()), python))
            switch = self.hosts[0].call('add_network')
            for host in self.hosts[1:]:
                host.call('join_network', switch, 'to-' + host.name)
                self.hosts[0].call('take_cable', 'to-' + host.name)
            for host in self.hosts:
                host.call('configure', self._config)
            self._fill()
            for work in (self._tell_xenopsd, self._hear_guests):
                self._threads.append(threading.Thread(target=work, daemon=True))
                self._threads[-1].start()
            self.port = free_port()
            for host in self.hosts:
                self.open_doors(host)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def close(self) -> None:
        """Take everything down."""
        self._stopped.set()
        self._pushes.put(None)
        self.db.close()
        for name in list(self._servers):
            self.close_doors(name)
        for thread in self._threads:
            thread.join(10)
        for host in reversed(self.hosts):
            host.halt()
        for name in os.listdir(self._folder):
            os.unlink(os.path.join(self._folder, name))
        os.rmdir(self._folder)

    def _fill(self) -> None:
        self.network = self.db.add(
            'network', name_label='Tenants', bridge=BRIDGE, default_locking_mode='unlocked',
            uuid=str(uuids.uuid5(uuids.NAMESPACE_DNS, BRIDGE)))
        for number, host in enumerate(self.hosts):
            self.refs[host.name] = self.db.add(
                'host', name_label=host.name, hostname=host.name, enabled=True, uuid=host.uuid,
                other_config={'boot_time': '100.'},
                address=MANAGEMENT % (number + 2))
            self.pifs[host.name] = self.db.add(
                'PIF', device='eth0', VLAN='-1', host=self.refs[host.name], network=self.network,
                other_config={}, currently_attached=True)
        self.master = self.hosts[0]
        self.db.add('pool', 'OpaqueRef:pool', master=self.refs[self.master.name], name_label='lab',
                    other_config={}, ha_enabled=False)

    # --- doors: sockets ----------------------------------------------------------------------

    def add_sriov(self, name: str, vlan: str = '') -> str:
        """Add an SR-IOV network, on all hosts; with `vlan` one on a VLAN of that SR-IOV network."""
        network = self.db.add('network', name_label=name, bridge='xapi' + name, managed=True,
                              default_locking_mode='unlocked')
        for host, ref in self.refs.items():
            if not vlan:
                self.db.add('PIF', device='eth1', VLAN='-1', host=ref, network=network,
                            other_config={}, currently_attached=True, VLAN_master_of=NULL,
                            sriov_logical_PIF_of=['OpaqueRef:sriov-' + host])
                continue
            tagged = next(pif for pif, record in self.db.objects['PIF'].items()
                          if (record['network'], record['host']) == (vlan, ref))
            untagged = self.db.add('PIF', device='eth1', VLAN='7', host=ref, network=network,
                                   other_config={}, currently_attached=True, VLAN_master_of=NULL,
                                   sriov_logical_PIF_of=[])
            master = self.db.add('VLAN', tag='7', tagged_PIF=tagged, untagged_PIF=untagged)
            self.db.set('PIF', untagged, VLAN_master_of=master)
        return network

    def open_doors(self, host: PoolHost) -> None:
        """Have XAPI listen on a host: on its unix socket and, where the tests are, on TLS."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address(host), self.port))
        listener.listen(16)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate(host))
        self._servers[host.name] = [
            XapiServer(host.listen(), lambda *call: self._local(host, *call)),
            XapiServer(listener, lambda *call: self._remote(host, *call), context)]

    def close_doors(self, name: str) -> None:
        """Let XAPI be gone from a host."""
        for server in self._servers.pop(name, []):
            server.stop()

    def address(self, host: PoolHost) -> str:
        """Return a host's management address."""
        return str(self.db.objects['host'][self.refs[host.name]]['address'])

    def certificate(self, host: PoolHost) -> str:
        """Return a file with a host's certificate and key."""
        path = os.path.join(self._folder, host.name + '.pem')
        if not os.path.exists(path):
            subprocess.run(
                ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2',
                 '-subj', '/CN=' + host.name, '-addext', 'subjectAltName=IP:' + self.address(host),
                 '-keyout', path, '-out', path + '.crt'], check=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with open(path, 'a') as file, open(path + '.crt') as certificate:
                file.write(certificate.read())
        return path

    def fingerprint(self, host: PoolHost) -> str:
        """Return the SHA-256 of a host's certificate, as openssl prints it."""
        text = subprocess.check_output(['openssl', 'x509', '-noout', '-fingerprint', '-sha256',
                                        '-in', self.certificate(host)], encoding='ascii')
        return text.partition('=')[2].strip()

    def _local(self, host: PoolHost, method: str, params: Sequence[Any]) -> Any:
        """Answer on a host's unix socket, where root needs no password; members ask the master."""
        if self.master is None:
            raise Refused('CANNOT_CONTACT_HOST', 'the master')
        if method == 'session.login_with_password' and list(params[:2]) == ['root', '']:
            return self.db.open_session('pool-admin')
        return self._answer(method, params)

    def _remote(self, host: PoolHost, method: str, params: Sequence[Any]) -> Any:
        """Answer on TLS: members send to the master."""
        if self.master is None:
            raise Refused('HOST_STILL_BOOTING')
        if host is not self.master:
            raise Refused('HOST_IS_SLAVE', self.address(self.master))
        return self._answer(method, params)

    def _answer(self, method: str, params: Sequence[Any]) -> Any:
        if self.fault:
            self.fault(method, params, False)
        result = self.db.answer(method, params)
        if self.fault:
            self.fault(method, params, True)
        return result

    # --- effects -----------------------------------------------------------------------------

    def vm_event(self, ref: str) -> None:
        """Xapi tells xenopsd of an event on a VM, a moment later."""
        self._pushes.put((time.monotonic() + EVENT_DELAY_S, ref))

    def _tell_xenopsd(self) -> None:
        while True:
            item = self._pushes.get()
            if item is None:
                return
            time.sleep(max(0.0, item[0] - time.monotonic()))
            try:
                self.push_metadata(item[1])
            except LabError:
                pass        # the host has died

    def push_metadata(self, ref: str) -> None:
        """Write the metadata of a VM's VIFs on the host where it runs."""
        with self.db.lock:
            vm = self.db.objects['VM'].get(ref)
            host = self.host_of(ref) if vm else None
            vifs = [(int(vif['device']), self._fields(vif)) for vif in (
                self.db.objects['VIF'][name] for name in (vm or {}).get('VIFs', ()))]
        if host is None or vm is None:
            return
        for devid, fields in vifs:
            host.call('set_vif', vm['uuid'], devid, fields)

    def _fields(self, vif: Mapping[str, Any]) -> Dict[str, Any]:
        """Return what xenopsd is told of a VIF."""
        mode = vif['locking_mode']
        if mode == 'network_default':
            mode = self.db.objects['network'][vif['network']]['default_locking_mode']
        return {'other_config': dict(vif['other_config']), 'locking_mode': mode,
                'ipv4_allowed': tuple(vif['ipv4_allowed']),
                'ipv6_allowed': tuple(vif['ipv6_allowed'])}

    def host_of(self, ref: str) -> Optional[PoolHost]:
        """Return the host where a VM runs."""
        resident = self.db.objects['VM'][ref]['resident_on']
        return next((host for host in self.hosts
                     if host.pid and self.refs[host.name] == resident), None)

    def set_xsdata(self, ref: str, data: Mapping[str, str]) -> None:
        """Only keys below vm-data reach a domain; all others of the folder are gone then."""
        host = self.host_of(ref)
        if host:
            host.call('set_vm_data', self.db.objects['VM'][ref]['uuid'], {
                key[len('vm-data/'):]: value for key, value in data.items()
                if key.startswith('vm-data/')})

    def locking_changed(self, ref: str) -> None:
        """Xenopsd writes the metadata, then runs the script."""
        vif = self.db.objects['VIF'][ref]
        host = self.host_of(vif['VM'])
        if host:
            host.call('lock_vif', self.db.objects['VM'][vif['VM']]['uuid'], int(vif['device']),
                      self._fields(vif))

    def call_plugin(self, host: str, plugin: str, fn: str, session: str,
                    args: Mapping[str, str]) -> str:
        """Run the plugin as xapi does: one argument, one response on stdout."""
        place = next((one for one in self.hosts if self.refs[one.name] == host), None)
        if place is None or not place.pid:
            raise Refused('HOST_OFFLINE', host)
        if plugin != os.path.basename(PLUGIN):
            raise Refused('XENAPI_MISSING_PLUGIN', plugin)
        done = place.execute([place.python, PLUGIN,
                              xmlrpc.client.dumps((session, dict(args)), fn)])
        try:
            reply: Any = xmlrpc.client.loads(done.stdout)[0][0]
        except Exception as error:
            raise Refused('XENAPI_PLUGIN_FAILURE', 'non-zero exit', done.stdout,
                          done.stderr) from error
        if reply['Status'] != 'Success':
            raise Refused(*reply['ErrorDescription'])
        return str(reply['Value'])

    def _hear_guests(self) -> None:
        """Take over into the database what guests write to their vm-data."""
        while not self._stopped.wait(GUESTS_S):
            for host in self.hosts:
                self._hear_host(host)

    def _hear_host(self, host: PoolHost) -> None:
        with self.db.lock:      # no message is under way that changes both
            try:
                found = host.call('vm_data') if host.pid else {}
            except LabError:
                return
            for uuid, data in found.items():
                vm = self.vms.get(uuid)
                if vm and self.host_of(vm.ref) is host:
                    kept = {key: value for key, value in self.record(vm)['xenstore_data'].items()
                            if not key.startswith('vm-data/')}
                    kept.update({'vm-data/' + key: value for key, value in data.items()})
                    self._heard(vm, kept)

    def _heard(self, vm: PoolVm, data: Dict[str, str]) -> None:
        """A database-only change by xe stays until the domain's own vm-data changes."""
        if data != self._domains.get(vm.uuid):
            self._domains[vm.uuid] = data
            self.db.set('VM', vm.ref, xenstore_data=data)

    # --- VMs ---------------------------------------------------------------------------------

    def add_vm(self, name: str, number: int, vifs: int = 1, **fields: Any) -> PoolVm:
        """Add a halted VM; `fields` are of its first VIF's record."""
        vm = self.db.add('VM', name_label=name, power_state='Halted', resident_on=NULL,
                         scheduled_to_be_resident_on=NULL, xenstore_data={}, other_config={},
                         is_a_template=False, is_a_snapshot=False, is_control_domain=False,
                         VIFs=[], VBDs=[], snapshots=[])
        refs = []
        for devid in range(vifs):
            self._last_vif += 1
            settings = fields if not devid else {}
            refs.append(self.db.add('VIF', **dict(
                {'device': str(devid), 'VM': vm, 'network': self.network, 'other_config': {},
                 'MAC': '02:00:00:01:%02x:%02x' % (self._last_vif >> 8, self._last_vif & 255),
                 'locking_mode': 'network_default', 'ipv4_allowed': [], 'ipv6_allowed': [],
                 'currently_attached': False}, **settings)))
        self.db.set('VM', vm, VIFs=refs)
        made = PoolVm(name, self.db.objects['VM'][vm]['uuid'], vm, tuple(refs), number)
        self.vms[made.uuid] = made
        return made

    def adopt(self, ref: str, number: int) -> PoolVm:
        """Return a VM that a message has made, so that it can be started and will be destroyed."""
        record = self.db.objects['VM'][ref]
        made = PoolVm(record['name_label'], record['uuid'], ref, tuple(record['VIFs']), number)
        self.vms[made.uuid] = made
        return made

    def start_vm(self, name: str, host: PoolHost, number: int, vifs: int = 1,
                 **fields: Any) -> PoolVm:
        """Add a VM and start it on a host."""
        vm = self.add_vm(name, number, vifs, **fields)
        self.start(vm, host)
        return vm

    def start(self, vm: PoolVm, host: PoolHost) -> None:
        """VM.start_on."""
        self.db.set('VM', vm.ref, scheduled_to_be_resident_on=self.refs[host.name])
        host.call('start_vm', vm.uuid, vm.name.encode('ascii', 'replace').decode(),
                  self._vm_data(vm), self._guest_vifs(vm))
        self._resides(vm, host)

    def _vm_data(self, vm: PoolVm) -> Dict[str, str]:
        data = self.db.objects['VM'][vm.ref]['xenstore_data']
        return {key[len('vm-data/'):]: value for key, value in data.items()
                if key.startswith('vm-data/')}

    def _guest_vifs(self, vm: PoolVm) -> List[GuestVif]:
        found = []
        for ref in vm.vifs:
            vif = self.db.objects['VIF'][ref]
            devid, network = int(vif['device']), self.db.objects['network'][vif['network']]
            record = VifRecord(devid, vif['MAC'], network['bridge'], vif['uuid'], network['uuid'],
                               sriov=self.is_sriov(vif['network']))
            addresses: Tuple[str, ...] = (vm.ipv4 + '/24', vm.ipv6 + '/64') if not devid else ()
            found.append(GuestVif(record._replace(**self._fields(vif)), addresses,
                                  GATEWAY.routers() if addresses else ()))
        return found

    def is_sriov(self, network: str) -> bool:
        """Tell whether a network's VIFs are functions of SR-IOV NICs, on a VLAN or not."""
        pifs = self.db.objects['PIF']
        masters = {ref: vlan['tagged_PIF'] for ref, vlan in self.db.objects['VLAN'].items()}
        below = [masters.get(pif.get('VLAN_master_of', ''), ref) for ref, pif in pifs.items()
                 if pif['network'] == network]
        return any(pifs[ref].get('sriov_logical_PIF_of') for ref in below)

    def _resides(self, vm: PoolVm, host: Optional[PoolHost]) -> None:
        """Note in the database where a VM runs now."""
        with self.db.lock:
            self._domains.pop(vm.uuid, None)
            for ref in vm.vifs:
                self.db.set('VIF', ref, currently_attached=host is not None)
            self.db.set('VM', vm.ref, power_state='Running' if host else 'Halted',
                        resident_on=self.refs[host.name] if host else NULL,
                        scheduled_to_be_resident_on=NULL)
            if host:
                self._hear_host(host)

    def stop(self, vm: PoolVm) -> None:
        """VM.clean_shutdown."""
        host = self.host_of(vm.ref)
        assert host
        with self.db.lock:
            self._resides(vm, None)
            host.call('stop_vm', vm.uuid)

    def migrate(self, vm: PoolVm, host: PoolHost, pause: float = 0.5) -> None:
        """VM.pool_migrate, live: plugged there under a temporary uuid, then gone from here."""
        source = self.host_of(vm.ref)
        assert source and source is not host
        self.db.set('VM', vm.ref, scheduled_to_be_resident_on=self.refs[host.name])
        time.sleep(pause)       # the memory's way
        temporary = temporary_uuid(vm.uuid)
        data = {key: value.replace(vm.uuid, temporary) for key, value in self._vm_data(vm).items()}
        host.call('start_vm', temporary, vm.name.encode('ascii', 'replace').decode(), data,
                  arriving_vifs(vm.uuid, self._guest_vifs(vm)), vm.uuid)
        source.call('depart', vm.uuid)
        host.call('arrive', vm.uuid)
        self._resides(vm, host)

    def destroy(self, vm: PoolVm) -> None:
        """Shut a VM down, if it runs, and forget it."""
        if self.host_of(vm.ref):
            self.stop(vm)
        del self.vms[vm.uuid]
        vifs = self.db.get('VM', vm.ref)['VIFs']
        self.db.remove('VM', vm.ref)
        for ref in vifs:
            self.db.remove('VIF', ref)

    def record(self, vm: PoolVm) -> Dict[str, Any]:
        """Return a VM's record."""
        return self.db.objects['VM'][vm.ref]

    def vif(self, vm: PoolVm, devid: int = 0) -> Dict[str, Any]:
        """Return the record of a VM's VIF."""
        return self.db.objects['VIF'][vm.vifs[devid]]

    def ask(self, vm: PoolVm, method: str, *args: Any) -> Any:
        """Return what a method of the VM's machine returns: ping, udp, ..."""
        host = self.host_of(vm.ref)
        assert host
        return host.call('ask', vm.uuid, method, *args)

    def guest_writes(self, vm: PoolVm, key: str, value: str) -> None:
        """Let a guest's root write, and wait until XAPI has it."""
        host = self.host_of(vm.ref)
        assert host
        host.call('guest_writes', vm.uuid, key, value)
        deadline = time.monotonic() + 5
        while self.record(vm)['xenstore_data'].get(key) != value:
            if time.monotonic() > deadline:
                raise LabError('XAPI does not hear what the guest writes: %s' % json.dumps(
                    self.record(vm)['xenstore_data']))
            time.sleep(0.02)

    # --- the master --------------------------------------------------------------------------

    def lose_master(self) -> None:
        """Let XAPI be gone, everywhere: the master's, and so the members' way to it."""
        assert self.master
        self.close_doors(self.master.name)
        self.master = None
        self.db.forget_sessions()

    def appoint(self, host: PoolHost) -> None:
        """Let another host, or the same one again, be the master."""
        self.db.forget_sessions()
        self.master = host
        self.db.set('pool', 'OpaqueRef:pool', master=self.refs[host.name])
        if host.name not in self._servers:
            self.open_doors(host)

    def cut(self, method: str, after: bool = False, times: int = 1) -> None:
        """Cut the connection off when a message comes, or before its answer goes."""
        left = [times]

        def fault(name: str, params: Sequence[Any], is_after: bool) -> None:
            if name == method and is_after is after and left[0]:
                left[0] -= 1
                raise Cut
        self.fault = fault


def free_port() -> int:
    """Return a TCP port that is free just now on all of a pool's addresses."""
    with socket.socket() as probe:
        probe.bind((MANAGEMENT % 2, 0))
        return int(probe.getsockname()[1])
