"""What the two ends of a question are, and which networks lie between them."""
from typing import List, NamedTuple, Optional, Sequence, Tuple

from xsisolate.diagnostics.first_packet import parse_talk
from xsisolate.diagnostics.inventory import Inventory, VifView
from xsisolate.diagnostics.ends import (FILE, End, Place, find_members, find_owners, holds,
                                        is_managed, why_no_gateway)
from xsisolate.diagnostics.vm_lookup import (find_vm, is_address, label, own_address, parse_single,
                                             read_places, said_addresses)
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import HostError, PolicyError, UsageError
from xsisolate.planner.vif import Vif
from xsisolate.policy.address import contains, format_prefix, quoted
from xsisolate.policy.admission import Talk
from xsisolate.policy.model import GATEWAY, Gateway, Mode, Prefix

# Stand for a machine whose MAC address is not known, and for an unknown address.
UNKNOWN_MAC = '02:00:00:00:ff:fe'
STAND_INS = {4: Prefix(4, 0xc0000201, 32), 6: Prefix(6, 0x20010db8 << 96 | 1, 128)}


class Asked(NamedTuple):
    """What is asked for: two ends as the admin wrote them, and what they say to each other."""

    source: str
    target: str
    service: str = ''           # tcp/443, udp/53, icmp, esp, ...; '': a ping
    version: int = 0            # 4 or 6; 0: what both ends have
    source_address: str = ''    # where a VM has several, or its policy names none
    target_address: str = ''


class Hop(NamedTuple):
    """A network that a packet passes, with the sender and the receiver there."""

    place: Place
    source: End
    target: End


class Route(NamedTuple):
    """A question, understood: the networks to pass, and what is said."""

    hops: Tuple[Hop, ...]
    talk: Talk
    notes: Tuple[str, ...]


def find_route(inventory: Inventory, store: Xenstore, asked: Asked) -> Route:
    """Return what an admin's question means on this host."""
    return RouteFinder(inventory, store).find(asked)


class RouteFinder:
    """Understands questions about one inventory of this host."""

    def __init__(self, inventory: Inventory, store: Xenstore) -> None:
        self._store = store
        self._inventory = inventory
        self._places = read_places(inventory)
        self._views = {view.vif.id: view for view in inventory.vifs}
        self._notes: List[str] = []

    def find(self, asked: Asked) -> Route:
        """Return what a question means."""
        self._notes = []
        talk, version = parse_talk(asked.service)
        source, target = self._choose(asked)
        version = self._version(asked, source, target, version)
        if not talk.protocol:
            talk = talk._replace(protocol='icmp' if version == 4 else 'icmp6')
        addresses = (self._address(source, asked.source, asked.source_address, version),
                     self._address(target, asked.target, asked.target_address, version))
        hops = self._hops(source, target, addresses)
        return Route(tuple(hops), talk, tuple(self._notes))

    def _choose(self, asked: Asked) -> Tuple[Optional[VifView], Optional[VifView]]:
        """Return the VIFs to look at: on a network that both ends share, if there is one."""
        sources, targets = self._find(asked.source), self._find(asked.target)
        for source in sources:
            for target in targets:
                if source is not target and _shared(source, target):
                    self._tell_sharers(asked.source, sources)
                    self._tell_sharers(asked.target, targets)
                    return source, target
        if sources and list(sources) == list(targets):
            raise UsageError('%s and %s are the same VIF: what it sends itself leaves the VM not '
                             'at all' % (quoted(asked.source), quoted(asked.target)))
        return (self._first(asked.source, sources, targets),
                self._first(asked.target, targets, sources))

    def _tell_sharers(self, text: str, views: Sequence[VifView]) -> None:
        """Note that an address moves between VIFs: only one of them is asked about."""
        if len(views) > 1 and is_address(text):
            self._notes.append('%s is shared by %s' % (text, ', '.join(map(label, views))))

    def _first(self, text: str, views: Sequence[VifView],
               others: Sequence[VifView]) -> Optional[VifView]:
        """Return a VIF of an end that shares no network with the other.

        An address may be in use once per network. An address inside the other end's network does
        not mean a VIF of another network. One that is on several networks is ambiguous.
        """
        if not views or not is_address(text):
            return views[0] if views else None
        address = parse_single(text)
        if others and any(contains(net, address) for net in self._places[
                others[0].bridge, others[0].vif.networks[0].network].facts.subnets):
            return None
        if len({(view.bridge, view.vif.networks) for view in views}) > 1:
            raise UsageError('%s is on several networks, as %s: name the VM' % (
                text, ', '.join(label(view) for view in views)))
        return views[0]

    def _find(self, text: str) -> Tuple[VifView, ...]:
        """Return the VIFs that a text means; of an address its owners."""
        try:
            address = parse_single(text)
        except PolicyError:
            found = find_vm(self._inventory, text)
            homeless = [view for view in found if not view.vif.networks]
            if len(homeless) == len(found):
                raise HostError('%s is on no network of Open vSwitch: %s' % (
                    label(found[0]), found[0].error)) from None
            return tuple(view for view in found if view.vif.networks)
        owners = [view for view in self._inventory.vifs
                  if any(contains(own, address) for own in view.vif.policy.addresses)]
        return tuple(owners)

    def _version(self, asked: Asked, source: Optional[VifView], target: Optional[VifView],
                 version: int) -> int:
        """Return the IP version to speak."""
        wanted = {number for number in (version, asked.version) if number}
        for text, address in ((asked.source, asked.source_address),
                              (asked.target, asked.target_address)):
            single = address or (text if is_address(text) else '')
            if single:
                wanted.add(parse_single(single).version)
        if len(wanted) > 1:
            raise UsageError('IPv4 and IPv6 do not mix: %s to %s, %s' % (
                quoted(asked.source), quoted(asked.target), quoted(asked.service or 'ping')))
        if wanted:
            return wanted.pop()
        return next((number for number in (4, 6) if all(
            view is None or own_address(view, number, self._store)
            for view in (source, target))), 4)

    def _address(self, view: Optional[VifView], text: str, given: str, version: int) -> Prefix:
        if given or is_address(text):
            return parse_single(given or text)
        assert view is not None
        found = own_address(view, version, self._store)
        if not found and view.vif.policy.mode in (Mode.LOCKED, Mode.ISOLATED):
            raise PolicyError('%s has no IPv%d address, so it can say nothing but DHCP%s' % (
                label(view), version, ''.join('; ' + text for text in view.unbound)))
        if not found and view.vif.policy.mode is Mode.UNLOCKED:
            raise UsageError('%s is unmanaged, and its guest does not say which IPv%d address it '
                             'has: name it (--source-address, --target-address)'
                             % (label(view), version))
        if view.vif.policy.mode is Mode.UNLOCKED:
            self._notes.append('%s has address %s, as its guest reports; xsisolate does not '
                               'check that'
                               % (label(view), format_prefix(found[0])))
        return found[0] if found else STAND_INS[version]

    def _hops(self, source: Optional[VifView], target: Optional[VifView],
              addresses: Tuple[Prefix, Prefix]) -> List[Hop]:
        """Return the networks that a packet passes, with the sender and the receiver on each."""
        here, there = self._place_of(source, target), self._place_of(target, source)
        if here is None and there is None:
            raise UsageError('neither %s nor %s is a VIF of this host' % tuple(
                map(format_prefix, addresses)))
        if here is None or there is None or here == there:
            place = here or there
            assert place is not None
            return [Hop(place, self._end(place, source, addresses[0]),
                        self._end(place, target, addresses[1]))]
        self._notes.append('they are on different networks, %s and %s: between these only a '
                           'router carries packets' % (here.name, there.name))
        return [Hop(here, self._end(here, source, addresses[0]),
                    self._end(here, None, addresses[1])),
                Hop(there, self._end(there, None, addresses[0]),
                    self._end(there, target, addresses[1]))]

    def _place_of(self, view: Optional[VifView], other: Optional[VifView]) -> Optional[Place]:
        """Return a VIF's network: the one that it shares with the other, if there is one."""
        if view is None:
            return None
        shared = _shared(view, other) if other else []
        network = shared[0] if shared else view.vif.networks[0].network
        return self._places[view.bridge, network]

    def _end(self, place: Place, view: Optional[VifView], address: Prefix) -> End:
        if view is not None:
            return End(label(view), address, view.vif.mac, view.vif,
                       lost=why_no_gateway(place, view.vif, address))
        name = format_prefix(address)
        owners = find_owners(place, address)
        if owners:
            owner = owners[0][1]
            return End(owners[0][0], address, owner.mac, owner,
                       lost=why_no_gateway(place, owner, address))
        gateway = next((gateway for gateway in place.facts.gateways
                        if address in (gateway.ipv4, gateway.ipv6)), None)
        if gateway:
            return self._gateway_end(place, address, name + ' (a gateway)', gateway,
                                     'the gateway %s, as %s says' % (name, _source(place, gateway)))
        return self._remote_end(place, address, name) or self._unknown_end(place, address, name)

    def _gateway_end(self, place: Place, address: Prefix, name: str, gateway: Gateway,
                     beyond: str) -> End:
        """Return a gateway, or an end behind it; it may be a VM of this host by mistake."""
        for _, vif in place.vifs:
            lost = why_no_gateway(place, vif, *self._addresses_of(vif))
            if lost and (gateway.mac == vif.mac or not gateway.mac):
                return End(name, address, vif.mac, vif, gateway=True, lost='the gateway is %s: %s'
                           % (label(self._views[vif.id]), lost))
        return End(name, address, gateway.mac or UNKNOWN_MAC, gateway=bool(gateway.mac),
                   beyond=beyond)

    def _addresses_of(self, vif: Vif) -> List[Prefix]:
        """Return a VIF's own addresses, of an unmanaged one what its guest reports."""
        if is_managed(vif):
            return sorted(vif.policy.addresses)
        return said_addresses(self._views[vif.id], self._store)

    def _remote_end(self, place: Place, address: Prefix, name: str) -> Optional[End]:
        """Return a member of a group on another host; several may take turns in an address."""
        found = find_members(place, address)
        if not found:
            return None
        group, member = found[0]
        macs = sorted({member.mac for _, member in found})
        where = 'the host of %s' % macs[0] if len(macs) == 1 else (
            'the host of one of %s, which share it: which one has it now is not known here'
            % ' '.join(macs))
        return End('%s (group %s, on another host)' % (name, group), address, member.mac,
                   beyond='%s, as XAPI told of group %s; what that host admits is '
                   'up to its own rules' % (where, group))

    def _unknown_end(self, place: Place, address: Prefix, name: str) -> End:
        """Return an end of which only the address is known."""
        for _, vif in place.vifs:
            view = self._views[vif.id]
            if vif.policy.mode is Mode.UNLOCKED and address in said_addresses(view, self._store):
                self._notes.append('%s is %s, as its guest reports; xsisolate does not check that'
                                   % (name, label(view)))
                return End(label(view), address, vif.mac, vif,
                           lost=why_no_gateway(place, vif, address))
        if any(contains(net, address) for net in place.facts.subnets):
            return End(name, address, UNKNOWN_MAC,
                       beyond='the machine that has it, which is not a known VIF of this host')
        routers = [gateway for gateway in place.facts.gateways
                   if (gateway.ipv4 if address.version == 4 else gateway.ipv6)]
        for holder, vif in place.vifs if not routers else ():
            if holds(vif, GATEWAY) and address.version in {a.version for a in vif.policy.addresses}:
                return End('%s (through %s)' % (name, holder), address, vif.mac, vif, gateway=True)
        if not routers:
            return End(name, address, UNKNOWN_MAC, beyond='whichever router its guest uses: %s '
                       'names none' % FILE)
        router = routers[0].ipv4 if address.version == 4 else routers[0].ipv6
        assert router
        beyond = ('the gateway %s%s, assumed from %s: which router its guest uses is not known here'
                  % (format_prefix(router), ' or another' * (len(routers) > 1),
                     _source(place, routers[0])))
        return self._gateway_end(place, address, name + ' (through a gateway)' * bool(
            routers[0].mac), routers[0], beyond)


def _source(place: Place, gateway: Gateway) -> str:
    """Return by whose word a network has a gateway."""
    return 'XAPI' if gateway in place.told else FILE


def _shared(view: VifView, other: Optional[VifView]) -> List[int]:
    """Return the networks that two VIFs share."""
    if other is None or view.bridge != other.bridge:
        return []
    theirs = {attached.network for attached in other.vif.networks}
    return [one.network for one in view.vif.networks if one.network in theirs]
