"""VMs as admins name them, and the networks that their VIFs are on."""
from typing import Dict, Iterable, List, Tuple

from xsisolate.diagnostics.inventory import Inventory, VifView
from xsisolate.diagnostics.ends import Place
from xsisolate.dom0.run_files.group_members import read_members
from xsisolate.dom0.xen.xenstore import TooLarge, Xenstore
from xsisolate.errors import PolicyError, UsageError
from xsisolate.planner.roles import with_holders_elsewhere
from xsisolate.planner.vif import UNNAMED, Attached
from xsisolate.policy.address import BITS, LINK_LOCAL, contains, parse_prefix, quoted
from xsisolate.policy.model import HOLDERS, Mode, Prefix, RemoteMember

PLAIN_NAME = frozenset('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._+@:-')
NAME_SHOWN = 48
ADDRESSES_MAX = 16          # of what a guest says of itself


def label(view: VifView) -> str:
    """Return what a VIF is called in sentences: never more than one harmless line."""
    name = view.vm_name
    if not name:
        return view.name
    if set(name) <= PLAIN_NAME and len(name) <= NAME_SHOWN and name.strip() == name:
        return '%s (%s)' % (name, view.name)
    return '%s (%s)' % (quoted(name), view.name)


class NotOnHost(UsageError):
    """No VM of this host is called so."""


def find_vm(inventory: Inventory, text: str) -> Tuple[VifView, ...]:
    """Return the VIFs of the VM that a name, uuid, domid or netdev means, /devid or all.

    Raises UsageError unless that is exactly one VM of this host.
    """
    found = [view for view in inventory.vifs if view.name == text]
    if not found:
        found = _of_vm(inventory.vifs, text)
    if not found and '/' in text:
        name, _, devid = text.rpartition('/')
        whole = _of_vm(inventory.vifs, name)
        found = [view for view in whole if str(view.vif.id.devid) == devid]
        if whole and not found:
            raise UsageError('VM %s has no VIF %s: it has %s' % (
                quoted(name), quoted(devid), ', '.join(str(view.vif.id.devid) for view in whole)))
    if not found:
        raise NotOnHost('no VM of this host with a VIF is called %s: write its name-label, uuid '
                         'or domid, and /devid for one VIF (xsisolate status lists them)'
                         % quoted(text))
    return tuple(found)


def _of_vm(views: Iterable[VifView], text: str) -> List[VifView]:
    found = [view for view in views
             if text in (view.vm_name, str(view.vif.id.domid)) or text.lower() == view.vif.vm_uuid]
    # Halves of a migration onto the same host are one VM, and the one that arrives is last.
    vms = {view.vif.vm_uuid or str(view.vif.id.domid) for view in found}
    if len(vms) > 1:
        raise UsageError('%s is ambiguous: domains %s; write the uuid or the domid' % (
            quoted(text), ', '.join(sorted({str(view.vif.id.domid) for view in found}, key=int))))
    return found


def parse_single(text: str) -> Prefix:
    """Return the single address that a text writes; raise PolicyError if it is none."""
    prefix = parse_prefix(text)
    if prefix.length != BITS[prefix.version]:
        raise PolicyError('%s is a network: a single address is expected here' % quoted(text))
    return prefix


def is_address(text: str) -> bool:
    """Tell whether a text is a single address."""
    try:
        return bool(parse_single(text))
    except PolicyError:
        return False


def read_places(inventory: Inventory) -> Dict[Tuple[str, int], Place]:
    """Return the networks of this host's VIFs, by bridge and number."""
    places: Dict[Tuple[str, int], Place] = {}
    for view in inventory.vifs:
        for attached in view.vif.networks:
            key = view.bridge, attached.network
            known = places.get(key)
            if known is None or known.uuid == UNNAMED:
                places[key] = _place(inventory, view.bridge, attached)
    return places


def _place(inventory: Inventory, bridge: str, attached: Attached) -> Place:
    context = inventory.bridges[bridge].context
    groups = context.config.groups
    on_it = tuple((label(view), view.vif) for view in inventory.vifs if view.bridge == bridge
                  and attached.network in [one.network for one in view.vif.networks])
    names = set(groups) | {group for _, vif in on_it for group in vif.policy.groups}
    members: Dict[str, Tuple[RemoteMember, ...]] = {
        name: tuple(member for member in read_members(name)
                    if member.network == attached.network_uuid) for name in sorted(names)}
    configured = context.find_network(attached.bridge, attached.network_uuid)
    facts = with_holders_elsewhere(
        configured, attached.network_uuid,
        {mac for _, vif in on_it if vif.policy.roles for mac in (vif.mac, *vif.policy.macs)},
        read_members(HOLDERS))
    return Place(bridge, attached.bridge, attached.network_uuid, attached.network, facts, groups,
                 on_it, {name: found for name, found in members.items() if found},
                 frozenset(facts.gateways) - frozenset(configured.gateways))


def own_address(view: VifView, version: int, store: Xenstore) -> Tuple[Prefix, ...]:
    """Return the address by which a VIF is spoken of: its policy's, else what its guest says."""
    own = sorted((prefix for prefix in view.vif.policy.addresses if prefix.version == version),
                 key=lambda prefix: (contains(LINK_LOCAL, prefix), -prefix.length, prefix.value))
    if own:
        single = BITS[version]
        return (own[0] if own[0].length == single else
                Prefix(version, own[0].value + (own[0].length < single - 1), single),)
    if view.vif.policy.mode in (Mode.LOCKED, Mode.ISOLATED):
        return ()
    return tuple(address for address in said_addresses(view, store)
                 if address.version == version)[:1]


def said_addresses(view: VifView, store: Xenstore) -> List[Prefix]:
    """Return the addresses that a guest says its VIF has, unchecked."""
    home = '/local/domain/%d/attr/vif/%d' % view.vif.id
    found: List[Prefix] = []
    for family in ('ipv4', 'ipv6'):
        try:
            values = store.read_children('%s/%s' % (home, family), ADDRESSES_MAX)
        except TooLarge:
            continue
        for value in values.values():
            try:
                found.append(parse_single(value.decode('ascii')))
            except (PolicyError, UnicodeDecodeError):
                pass        # the guest's own business
    return sorted(found, key=lambda prefix: (contains(LINK_LOCAL, prefix), prefix))
