"""Which VIF it is and what it may do, from xenstore, xenopsd's metadata and the configuration."""
from xsisolate.config.host_config import Configuration
from xsisolate.dataplane.lease_facts import LeaseFacts, find_leases
from xsisolate.dom0.xen.vif_metadata import VifMetadata, read_metadata
from xsisolate.dom0.xen.xenstore import TooLarge, Xenstore
from xsisolate.errors import PolicyError, UnknownVif, UnprovenPolicy
from xsisolate.policy.model import EffectivePolicy, Identity, VifPolicy
from xsisolate.policy.permissive import excuse, is_permissive
from xsisolate.policy.resolve import quarantine, resolve_policy
from xsisolate.policy.seal import SEAL_KEY
from xsisolate.policy.vmdata_parser import check_keys, parse_vmdata, undo_migration
from xsisolate.typing_compat import Mapping, NamedTuple, Optional, Tuple
from xsisolate.vif_id import VifId

# Children of vm-data/xsisolate that are still read: all numbered keys of all
# lists, and room for mistakes. Beyond that it is not a policy but an attack.
POLICY_KEYS_MAX = 512


class VifFacts(NamedTuple):
    """A VIF as Dom0 knows it, and its effective policy."""

    metadata: VifMetadata
    identity: Identity
    policy: EffectivePolicy
    arriving: bool              # the VM migrates to this host: another uuid for now
    leases: LeaseFacts = LeaseFacts()

    @property
    def vm_uuid(self) -> str:
        """The VM's canonical uuid: it survives migration and reboot."""
        return self.identity.vm_uuid

    @property
    def external_ids(self) -> Mapping[str, str]:
        """What other programs look for on a VIF's Interface."""
        metadata = self.metadata
        values = {'xs-vm-uuid': self.vm_uuid, 'xs-vif-uuid': metadata.vif_uuid,
                  'xs-network-uuid': metadata.network_uuid, 'attached-mac': metadata.mac}
        return {key: value for key, value in values.items() if value}


def read_vm_uuid(store: Xenstore, domid: int) -> str:
    """Return a domain's VM uuid as xenopsd calls it now; during a migration a temporary one."""
    path = store.read_text('/local/domain/%d/vm' % domid)
    uuid = store.read_text(path + '/uuid') if path else None
    if not uuid:
        raise UnknownVif('domain %d has no VM uuid in xenstore: is it being destroyed?' % domid)
    return uuid


def read_identity(store: Xenstore, vm_uuid: str,
                  devid: int) -> Tuple[VifMetadata, Identity, bool]:
    """Return a VIF's metadata, what its seal is made for, and whether its VM is migrating here.

    The seal is made for the uuid that the VM has before and after a migration.
    """
    metadata = read_metadata(vm_uuid, str(devid))
    return (metadata, *_identify(store, metadata))


def _identify(store: Xenstore, metadata: VifMetadata) -> Tuple[Identity, bool]:
    found = store.read_named('/vm/' + metadata.vm_uuid, ('final-uuid', 'origin-uuid'))
    other = found.get('final-uuid') or found.get('origin-uuid') or b''
    uuid = (other.decode('utf-8', 'replace') or metadata.vm_uuid).lower()
    return Identity(uuid, metadata.devid, metadata.mac), 'final-uuid' in found


def read_vif(store: Xenstore, vif_id: VifId, vm_uuid: str,
             configuration: Configuration) -> VifFacts:
    """Return a VIF's facts; a policy that must not be applied becomes quarantine.

    Raises UnknownVif if the host does not know the VIF.
    """
    return read_facts_of(store, vif_id, read_metadata(vm_uuid, str(vif_id.devid)), configuration)


def read_facts_of(store: Xenstore, vif_id: VifId, metadata: VifMetadata,
                  configuration: Configuration) -> VifFacts:
    """Return the facts of a VIF whose metadata are known."""
    identity, arriving = _identify(store, metadata)
    config, leases = configuration.config, LeaseFacts()
    written: Optional[VifPolicy] = None
    network = configuration.find_network(metadata.bridge, metadata.network_uuid)
    seal = metadata.other_config.get(SEAL_KEY)
    try:
        written = _read_valid(store, vif_id.domid, identity, configuration)
        if written and written.sources:
            leases = find_leases(identity, metadata.other_config)
        policy = resolve_policy(identity, seal, metadata.locking, written, config, network,
                                frozenset([lease.address for lease in leases.leases]))
    except PolicyError as error:
        if not configuration.error and is_permissive(identity, seal, written, config, network):
            policy = excuse(metadata.mac, metadata.locking, str(error))
        else:
            # where no seal is looked at, there is nothing that may fit in a moment
            policy = quarantine(str(error), isinstance(error, UnprovenPolicy)
                                and not config.accept_unsealed)
    return VifFacts(metadata, identity, policy, arriving, leases)


def _read_valid(store: Xenstore, domid: int, identity: Identity,
                configuration: Configuration) -> Optional[VifPolicy]:
    if configuration.error:
        raise PolicyError(configuration.error)
    return read_policy(store, domid, identity)


def read_policy(store: Xenstore, domid: int, vif: Identity) -> Optional[VifPolicy]:
    """Return what vm-data says of a VIF, None if nothing; raise UnprovenPolicy if it is malformed.

    The guest may have written it.
    """
    root = '/local/domain/%d/vm-data/xsisolate' % domid
    own = '%s/vif/%s' % (root, vif.devid)
    try:
        found, own_found = store.directories((root, own), POLICY_KEYS_MAX)
        common_keys, own_keys = [key for key in found or () if key != 'vif'], own_found or ()
        check_keys(common_keys, own_keys, vif.devid)        # before a byte of a value is read
        common_values, own_values = (
            undo_migration(values, vif.vm_uuid)
            for values in store.read_folders(((root, common_keys), (own, own_keys))))
        return parse_vmdata(common_values, own_values, vif.devid)
    except (PolicyError, TooLarge) as error:
        raise UnprovenPolicy(str(error)) from None
