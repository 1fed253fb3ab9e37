"""XAPI's own way: VM.migrate_send, for a VM that runs, too, where the destination allows it."""
from typing import Any, Callable, Dict, NamedTuple, Optional

from xsisolate.dom0.xapi.session import Xapi, XapiError, one_line
from xsisolate.errors import HostError
from xsisolate.migratevm.cargo import Cargo, Pool, Storage
from xsisolate.migratevm.stream import Interrupted
from xsisolate.migratevm.tasks import POLL_S, Task

ADVICE = {
    'VM_LACKS_FEATURE': 'the guest has no PV drivers',
    'VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION': 'a disk is reset on boot',
    'VDI_CBT_ENABLED': 'a disk has changed block tracking on: xe vdi-disable-cbt',
    'VIF_NOT_IN_MAP': 'a network is missing at the destination',
    'VM_INCOMPATIBLE_WITH_THIS_HOST': 'the CPUs are too different',
    'HOST_NOT_ENOUGH_FREE_MEMORY': 'the destination has too little free memory',
    'FEATURE_RESTRICTED': 'the licence does not allow it',
}


class Ticket(NamedTuple):
    """The arguments of VM.migrate_send behind the VM."""

    token: Dict[str, str]
    disks: Dict[str, str]
    nics: Dict[str, str]
    options: Dict[str, str]


def prepare(source: Xapi, destination: Xapi, cargo: Cargo, pool: Pool, storage: Storage,
            copy: bool) -> Ticket:
    """Return a ticket that XAPI accepts; raise HostError with the reason why there is none."""
    if copy and cargo.is_live:
        raise HostError('XAPI copies only VMs that do not run')
    networks = {str(record['name_label']): str(ref) for ref, record
                in destination.call('network.get_all_records').items()}
    nics = {}
    for vif, name in list_nics(source, cargo).items():
        if name not in networks:
            raise HostError('the destination has no network %s' % one_line(name))
        nics[vif] = networks[name]
    host = choose_host(destination, pool, storage)
    token = destination.call('host.migrate_receive', host, find_network(destination, host), {})
    ticket = Ticket(token, {disk.ref: storage.ref for disk in cargo.disks}, nics,
                    {'copy': 'true'} if copy else {})
    try:
        source.call('VM.assert_can_migrate', cargo.vm.ref, ticket.token, True, ticket.disks,
                    ticket.nics, ticket.options, {})
    except XapiError as error:
        raise HostError('%s%s' % (error, ' (%s)' % ADVICE[error.code]
                                  if error.code in ADVICE else '')) from error
    return ticket


def list_nics(xapi: Xapi, cargo: Cargo) -> Dict[str, str]:
    """Return the networks' names by VIF; those of its snapshots move along."""
    nics = dict(cargo.networks)
    for snapshot in cargo.record['snapshots']:
        for vif in xapi.call('VM.get_record', snapshot)['VIFs']:
            network = xapi.call('VIF.get_record', vif)['network']
            nics[str(vif)] = str(xapi.call('network.get_record', network)['name_label'])
    return nics


def choose_host(xapi: Xapi, pool: Pool, storage: Storage) -> str:
    """Return an enabled host that sees the storage, the master if it does."""
    hosts = []
    for ref in xapi.call('SR.get_record', storage.ref)['PBDs']:
        plug: Any = xapi.call('PBD.get_record', ref)
        if plug['currently_attached'] and pool.hosts.get(plug['host'], {}).get('enabled'):
            hosts.append(str(plug['host']))
    if not hosts:
        raise HostError('no enabled host of the destination sees storage repository %s'
                        % one_line(storage.name))
    return pool.master if pool.master in hosts else hosts[0]


def find_network(xapi: Xapi, host: str) -> str:
    """Return the network over which a host is managed."""
    for record in xapi.call('PIF.get_all_records').values():
        if record['host'] == host and record['management']:
            return str(record['network'])
    raise HostError('the destination\'s host has no management interface')


def move(source: Xapi, cargo: Cargo, ticket: Ticket,
         report: Callable[[int, Optional[float]], None], beat_s: float = POLL_S) -> str:
    """Have XAPI move a VM; return what it is at the destination."""
    ref = source.call('Async.VM.migrate_send', cargo.vm.ref, ticket.token, True, ticket.disks,
                      ticket.nics, ticket.options, {})
    kept = 'The VM is still at the source: XAPI takes back what it has begun'
    with Task(source, str(ref)) as task:
        try:
            state = task.wait(beat_s)
            while not state.over:
                report(0, state.progress or None)
                state = task.wait(beat_s)
        except KeyboardInterrupt:
            raise Interrupted('interrupted. %s' % kept) from None
        if state.failed:
            raise HostError('VM.migrate_send: %s. %s' % (state.why, kept))
        report(0, 1.0)
        return state.references[0]
