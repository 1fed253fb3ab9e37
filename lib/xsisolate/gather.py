"""Who a VIF is and what it may do, from xenstore, xenopsd's metadata and the configuration."""
from typing import Mapping, NamedTuple, Tuple

from xsisolate.config import load_config
from xsisolate.core.model import Config, EffectivePolicy, Network
from xsisolate.core.policy import find_network, quarantine, resolve_policy
from xsisolate.core.vmdata import parse_vmdata
from xsisolate.dom0.xenopsd import VifMetadata, read_metadata
from xsisolate.dom0.xenstore import TooLarge, Xenstore
from xsisolate.errors import ConfigError, HostError, PolicyError

# Children of vm-data/xsisolate that are still read: all numbered keys of all
# lists, and room for mistakes. Beyond that it is no policy but an attack.
POLICY_KEYS_MAX = 512


class VifFacts(NamedTuple):
    """A VIF as Dom0 knows it, and its effective policy."""

    metadata: VifMetadata
    vm_uuid: str                # the canonical one: it survives migration and reboot
    policy: EffectivePolicy
    arriving: bool              # the VM migrates to this host: another uuid for now


class Configuration(NamedTuple):
    """The host's configuration, or why there is none."""

    config: Config
    error: str = ''

    def find_network(self, bridge: str, network_uuid: str) -> Network:
        """Return what the configuration says about a network."""
        return find_network(self.config, bridge, network_uuid)


def read_configuration() -> Configuration:
    """Return the configuration; a broken one is an error that quarantines VIFs."""
    try:
        return Configuration(load_config())
    except ConfigError as error:
        return Configuration(Config(), str(error))


def read_vm_uuid(store: Xenstore, domid: int) -> str:
    """Return a domain's VM uuid as xenopsd calls it now; during a migration a temporary one."""
    path = store.read_text('/local/domain/%d/vm' % domid)
    uuid = store.read_text(path + '/uuid') if path else None
    if not uuid:
        raise HostError('domain %d has no VM uuid in xenstore: is it being destroyed?' % domid)
    return uuid


def canonical_uuid(store: Xenstore, vm_uuid: str) -> str:
    """Return the uuid that the VM has before and after a migration."""
    for key in ('final-uuid', 'origin-uuid'):
        uuid = store.read_text('/vm/%s/%s' % (vm_uuid, key))
        if uuid:
            return uuid.lower()
    return vm_uuid.lower()


def read_vif(store: Xenstore, domid: int, vm_uuid: str, devid: int,
             configuration: Configuration) -> VifFacts:
    """Return a VIF's facts; a policy that must not be applied becomes quarantine.

    Raises HostError if the host does not know the VIF.
    """
    metadata = read_metadata(vm_uuid, str(devid))
    uuid = canonical_uuid(store, vm_uuid)
    network = configuration.find_network(metadata.bridge, metadata.network_uuid)
    try:
        if configuration.error:
            raise PolicyError(configuration.error)
        policy = resolve_policy(uuid, metadata.mac, metadata.locking,
                                parse_vmdata(*_read_vmdata(store, domid, devid), str(devid)),
                                configuration.config, network)
    except (PolicyError, TooLarge) as error:
        policy = quarantine(str(error))
    arriving = store.read('/vm/%s/final-uuid' % vm_uuid) is not None
    return VifFacts(metadata, uuid, policy, arriving)


def _read_vmdata(store: Xenstore, domid: int,
                 devid: int) -> Tuple[Mapping[str, bytes], Mapping[str, bytes]]:
    """Return the policy keys of the VM and of the VIF; the guest may have written both."""
    root = '/local/domain/%d/vm-data/xsisolate' % domid
    common = store.read_children(root, POLICY_KEYS_MAX)
    common.pop('vif', None)
    own = store.read_children('%s/vif/%d' % (root, devid), POLICY_KEYS_MAX)
    return common, own
