"""XAPI's locking, the sealed policy and the network's default -> one effective policy.

Nothing here loosens: XAPI's locking mode is a floor, its address list a fence, and a
list that is empty admits none.
"""
from xsisolate.errors import PolicyError, UnprovenPolicy
from xsisolate.policy.additional_macs import reduce_additional
from xsisolate.policy.address import (contains, eui64, eui64_link_local, format_prefix, quoted,
                                      with_link_local)
from xsisolate.policy.leases import refuse
from xsisolate.policy.model import (DHCP, SLAAC, Config, EffectivePolicy, Group, Identity, Locking,
                                    Mode, Network, Prefix, Source, VifPolicy)
from xsisolate.policy.permissive import as_permissive, excuse, is_permissive
from xsisolate.policy.seal import Sealing, explain, judge
from xsisolate.typing_compat import AbstractSet, FrozenSet, Iterable, Mapping, Optional, Tuple

ANY_NETWORK = '*'
DIGITS = '0123456789'
UUID_LETTERS = DIGITS + 'abcdef-'
SHOWN_ADDRESSES = 4     # of a long list, this many go into a log line

NOBODY_SAID_ANYTHING = VifPolicy()


def resolve_policy(vif: Identity, seal: Optional[str], locking: Locking,
                   vmdata: Optional[VifPolicy], config: Config,
                   network: Network, leased: FrozenSet[Prefix] = frozenset()) -> EffectivePolicy:
    """Return what a VIF may do, or raise PolicyError if its policy must not be applied.

    `seal` and `vmdata` are None if the VIF has none. `leased` are the addresses that DHCP servers
    have leased to it: they count if its policy says so, and where nothing forbids them.
    """
    written = vmdata or NOBODY_SAID_ANYTHING
    if not config.accept_unsealed:
        _check_seal(vif, seal, None if written == NOBODY_SAID_ANYTHING else written)
    found = _resolve(vif, locking, written._replace(permissive=None), config, network, leased)
    permissive = is_permissive(vif, seal, vmdata, config, network)
    return as_permissive(found, vif.mac, locking) if permissive else found


def resolve_or_excuse(vif: Identity, seal: Optional[str], locking: Locking,
                      vmdata: Optional[VifPolicy], config: Config, network: Network,
                      leased: FrozenSet[Prefix] = frozenset()) -> EffectivePolicy:
    """Return what a VIF may do; a permissive one may what XAPI says if its policy is refused."""
    try:
        return resolve_policy(vif, seal, locking, vmdata, config, network, leased)
    except PolicyError as error:
        if not is_permissive(vif, seal, vmdata, config, network):
            raise
        return excuse(vif.mac, locking, str(error))


def _resolve(vif: Identity, locking: Locking, written: VifPolicy, config: Config,
             network: Network, leased: FrozenSet[Prefix]) -> EffectivePolicy:
    if written == NOBODY_SAID_ANYTHING:
        return _effective(vif, max(network.default, locking.mode), locking, written, network)
    _check_rosters(vif.vm_uuid, written.groups or frozenset(), config)
    _check_fence(vif.mac, locking, written, network)
    _check_own_mac(locking, written)
    found = _effective(vif, max(_written_mode(written), locking.mode), locking, written, network)
    return _with_leases(found, vif.mac, locking, network, leased) if found.sources else found


def quarantine(reason: str, unproven: bool = False) -> EffectivePolicy:
    """Return the answer to a policy that must not be applied: no frame passes."""
    return EffectivePolicy(Mode.QUARANTINED, reason=reason, unproven=unproven)


def find_network(config: Config, bridge: str, network_uuid: str) -> Network:
    """Return what the configuration says of a bridge, its network, or all."""
    for name in (bridge, network_uuid.lower(), ANY_NETWORK):
        if name in config.networks:
            return config.networks[name]
    return Network()


def possible_labels(config: Config) -> Tuple[str, ...]:
    """Return the networks' keys that may be name-labels, or bridges that were named by hand."""
    return tuple(key for key in config.networks
                 if not (key == ANY_NETWORK or _is_uuid(key) or _is_named_by_xapi(key)))


def _is_uuid(key: str) -> bool:
    return len(key) == 36 and key.count('-') == 4 and not key.strip(UUID_LETTERS)


def _is_named_by_xapi(key: str) -> bool:
    return key == 'xenapi' or (key.rstrip(DIGITS) in ('xenbr', 'xapi') and key[-1:] in DIGITS)


def is_within(locking: Locking, mac: str, mode: Mode, addresses: Iterable[Prefix],
              macs: AbstractSet[str] = frozenset()) -> bool:
    """Tell whether what a VIF may do now is no more than XAPI's own locking mode allows."""
    if locking.mode is not Mode.LOCKED or mode > Mode.ISOLATED:
        return mode >= locking.mode
    fence = locking.ipv4 | with_link_local(mac, locking.ipv6)
    return not macs and mode >= locking.mode and all(
        _is_inside(address, fence) for address in addresses)


def is_fail_closed(config: Config, names: Iterable[str]) -> bool:
    """Tell whether one of a bridge's networks, by name or uuid, asks for that."""
    known = [config.networks[name.lower() if name.lower() in config.networks else name]
             for name in names if name in config.networks or name.lower() in config.networks]
    everywhere = config.networks.get(ANY_NETWORK, Network()).fail_closed and not known
    return everywhere or any(network.fail_closed for network in known)


def is_on_roster(vm_uuid: str, group: str, config: Config) -> bool:
    """Tell whether a group admits a VM: one without a roster admits all."""
    roster = config.groups.get(group, Group()).vms
    return roster is None or vm_uuid.lower() in roster


def _effective(vif: Identity, mode: Mode, locking: Locking, written: VifPolicy,
               network: Network) -> EffectivePolicy:
    named = [holder for holder in network.holders
             if (holder.vm_uuid, holder.devid) == (vif.vm_uuid.lower(), vif.devid)]
    roles = (written.roles or frozenset()).union(*[holder.roles for holder in named])
    if roles:       # whom all others must believe is what it says it is
        mode = max(mode, Mode.LOCKED)
    if mode not in (Mode.LOCKED, Mode.ISOLATED):
        return EffectivePolicy(mode)
    macs = reduce_additional(written.mac or (), vif.mac)
    roles = roles.union(*[gateway.roles for gateway in network.gateways
                          if gateway.mac and gateway.mac in {vif.mac, *macs}])
    own = _own_addresses(vif.mac, locking, written) | _slaac(vif.mac, written.sources, network)
    if roles and not own and not locking.mode:
        own = _with_link_local_of(vif.mac, frozenset().union(
            *[holder.addresses for holder in named]))
    if roles and not own:
        raise PolicyError('roles: %s needs an address that is its own: name it in ipv4 or ipv6 of '
                          'the VIF\'s policy, or beside the VM in xsisolate.yaml'
                          % ', '.join(sorted(roles)))
    return EffectivePolicy(
        mode,
        addresses=own,
        groups=written.groups or frozenset(),
        allow=written.allow or frozenset(),
        shared=written.shared or frozenset(),
        roles=roles,
        macs=macs,
        sources=written.sources)


def _with_leases(policy: EffectivePolicy, mac: str, locking: Locking, network: Network,
                 leased: Iterable[Prefix]) -> EffectivePolicy:
    """Return a policy with the leased addresses that its VIF may own."""
    fence = locking.ipv4 | with_link_local(mac, locking.ipv6)
    own = frozenset([address for address in leased
                     if Source(address.version, DHCP) in policy.sources
                     and not refuse(address, network)
                     and (locking.mode is not Mode.LOCKED or _is_inside(address, fence))])
    return policy._replace(addresses=policy.addresses | own, leased=own - policy.addresses)


def slaac_addresses(mac: str, network: Network) -> FrozenSet[Prefix]:
    """Return the addresses that a MAC address makes in a network's /64s."""
    return frozenset(eui64(mac, subnet.value) for subnet in network.subnets
                     if (subnet.version, subnet.length) == (6, 64))


def _slaac(mac: str, sources: AbstractSet[Source], network: Network) -> FrozenSet[Prefix]:
    if SLAAC not in sources:
        return frozenset()
    found = slaac_addresses(mac, network)
    if not found:
        raise PolicyError('ipv6: slaac needs an IPv6 /64 among the network\'s subnets: name it in '
                          'xsisolate.yaml, or take slaac out of vm-data')
    return found


def _with_link_local_of(mac: str, addresses: FrozenSet[Prefix]) -> FrozenSet[Prefix]:
    return _of(addresses, 4) | with_link_local(mac, _of(addresses, 6))


def _written_mode(written: VifPolicy) -> Mode:
    """Return the mode key, or what the other keys mean without it."""
    if written.mode is not None:
        return written.mode
    if written.groups is not None or written.allow is not None:
        return Mode.ISOLATED
    return Mode.LOCKED


def _own_addresses(mac: str, locking: Locking,
                   written: VifPolicy) -> FrozenSet[Prefix]:
    ipv4 = locking.ipv4 if written.ipv4 is None else written.ipv4
    ipv6 = locking.ipv6 if written.ipv6 is None else written.ipv6
    own6 = ipv6 | _of(written.shared, 6)
    if any(source.version == 6 for source in written.sources):
        own6 |= {eui64_link_local(mac)}     # by which it asks for the others
    return ipv4 | _of(written.shared, 4) | with_link_local(mac, own6)


def _of(prefixes: Optional[FrozenSet[Prefix]], version: int) -> FrozenSet[Prefix]:
    return frozenset([prefix for prefix in prefixes or () if prefix.version == version])


def _check_seal(vif: Identity, seal: Optional[str], written: Optional[VifPolicy]) -> None:
    state = judge(vif, seal, written)
    if state not in (Sealing.NONE, Sealing.SEALED):
        raise UnprovenPolicy(explain(state, vif, seal, written))


def _check_rosters(vm_uuid: str, groups: AbstractSet[str], config: Config) -> None:
    for name in sorted(groups):
        if not is_on_roster(vm_uuid, name, config):
            raise PolicyError(
                'groups: %s admits only the VMs on its roster, and VM %s is not one: '
                'add it to groups.%s.vms in xsisolate.yaml, or take %s out of vm-data'
                % (name, quoted(vm_uuid), name, name))


def _check_fence(mac: str, locking: Locking, written: VifPolicy, network: Network) -> None:
    if locking.mode is not Mode.LOCKED:
        return
    _check_inside('ipv4', written.ipv4, locking.ipv4)
    _check_inside('ipv6', written.ipv6, with_link_local(mac, locking.ipv6))
    _check_inside('ipv6', _slaac(mac, written.sources, network), locking.ipv6)
    for version, fence in ((4, locking.ipv4), (6, locking.ipv6)):
        _check_inside('ipv%d' % version, _of(written.shared, version), fence, 'shared')


def _check_own_mac(locking: Locking, written: VifPolicy) -> None:
    if locking.mode is Mode.LOCKED and written.mac:
        raise PolicyError(
            'mac: XAPI locks this VIF to its own MAC address, so it may not use %s: set its '
            'locking mode to unlocked (xe vif-param-set locking-mode=unlocked), or take it out of '
            'vm-data' % sorted(written.mac)[0])


def _check_inside(family: str, own: Optional[FrozenSet[Prefix]], fence: FrozenSet[Prefix],
                  key: str = '') -> None:
    for prefix in sorted(own or ()):
        if not _is_inside(prefix, fence):
            raise PolicyError(
                "%s: %s is outside XAPI's %s_allowed (%s), and XAPI locks this VIF: "
                'add it there, or take it out of vm-data'
                % (key or family, format_prefix(prefix), family, _format_some(fence)))


def _is_inside(prefix: Prefix, fence: Iterable[Prefix]) -> bool:
    return any(contains(allowed, prefix) for allowed in fence)


def _format_some(prefixes: Iterable[Prefix]) -> str:
    texts: Tuple[str, ...] = tuple(map(format_prefix, sorted(prefixes)))
    more = ('...',) if len(texts) > SHOWN_ADDRESSES else ()
    return ', '.join(texts[:SHOWN_ADDRESSES] + more) or 'empty'


def asked_groups(groups: Iterable[str], facts: Mapping[str, Group]) -> FrozenSet[str]:
    """Return the VIF's groups and the groups that they reach and that reach them."""
    nobody = Group()
    return frozenset(groups) | frozenset(
        other for group in groups for other in facts.get(group, nobody).reach
        if group in facts.get(other, nobody).reach)
