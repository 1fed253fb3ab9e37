"""What this host has refused: who, whom, what, how often, and the line of `explain` that says why.

What the daemon has kept, and what the switch holds right now.
"""
from time import time
from typing import (Any, Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple, Optional,
                    Tuple)

from xsisolate.admin.plugin_protocol import NOW_ADMITTED
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.refusals import read_book, read_now
from xsisolate.diagnostics.ends import End, Place
from xsisolate.diagnostics.inventory import Inventory, VifView, read_inventory
from xsisolate.diagnostics.passage import judge
from xsisolate.diagnostics.refused_choice import is_wanted
from xsisolate.diagnostics.vm_lookup import (NotOnHost, find_vm, label, read_places,
                                             said_addresses)
from xsisolate.dom0.run_files.group_members import list_groups, read_members
from xsisolate.dom0.run_files.pool_names import VifName, read_names
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import PolicyError
from xsisolate.planner.refusal_book import Book, Owner, Row
from xsisolate.planner.refusal_record import INGRESS, UNASKED
from xsisolate.policy.address import contains, format_prefix, parse_prefix
from xsisolate.policy.admission import Talk
from xsisolate.policy.service import PINGS, WITH_PORTS

CLIENT_PORT = 40000
FORGED = 'spoofed IP'
# Of what no policy is asked; `explain` asks of packets that VMs may send.
FIXED = {
    'spoofed MAC': '%(mac)s is not a MAC address of its own',
    FORGED: '%(address)s is not one of its own addresses',
    'ARP or ND claim': 'it says in ARP or neighbour discovery what is not true of it',
    'DHCP server': 'it is not a DHCP server: it does not hold the role dhcp',
    'router advertisement': 'it is not a router: it does not hold the role router',
    'VLAN tag': 'it may not use this VLAN',
    'switch protocol': 'VMs have no part in the protocols of switches',
    'multicast querier': 'VMs do not query for members of multicast groups',
    'ICMP redirect': 'no VM may lead another to strangers',
    'fragment': 'what the switch cannot see to the end it cannot judge',
    'kind of frame': 'neither IPv4, IPv6 nor ARP',
    'ICMPv6 type': 'VMs do not send this type of ICMPv6',
    'multicast': 'no member of its groups on this host hears it',
    'receiver is closed': 'the receiver is disabled or in quarantine'}
FIXED_INGRESS = {
    'DHCP server': 'it is not a DHCP server that the network trusts',
    'router advertisement': 'it is not a router that the network trusts'}


class Party(NamedTuple):
    """One end of refused frames."""

    name: str           # the VM's, '' if none is known
    vif: str            # of this host
    vm: str             # uuid
    address: str
    mac: str

    @property
    def shown(self) -> str:
        """What it is called: a VM by its name, else its address."""
        return self.name or self.address or self.mac


class Refused(NamedTuple):
    """A row: one kind of refused frames."""

    row: Row
    owner: str          # the VIF whose policy refuses them
    source: Party
    target: Party
    network: str        # its bridge as XAPI has it
    because: str


class RefusedView(NamedTuple):
    """What this host has refused."""

    rows: Tuple[Refused, ...]       # newest first
    since: float                    # when the record was begun, seconds since the epoch
    read: float                     # when the switch was read
    kept: bool                      # by the daemon; else the switch remembers a minute
    gap: Optional[Tuple[float, float]]
    # Frames of kinds for which the record had no room: refused, and passed.
    beyond: int
    beyond_passed: int


class RefusedReader:
    """Reads the record, again and again for `--follow`."""

    def __init__(self, dom0: HostContext) -> None:
        found = read_book()
        self.kept, self._book = found is not None, found or Book()
        self._inventory = read_inventory(dom0)
        self.namer = Namer(self._inventory, dom0.store)

    def read(self, vm: str = '', since: float = 0.0, only: str = '') -> RefusedView:
        """Return what was refused of a VM, or of all, within so many seconds (0: all there is).

        `only`: by permissive policies, which let it pass, or by enforced ones; '': by both.
        """
        read_now(self._book)
        begin = time() - since if since else 0.0
        wanted = self._find(vm) if vm else None
        rows = [row for row in self._book.rows.values() if row.last >= begin
                and is_wanted(row.refusal.passed, only)
                and (wanted is None or is_about(row, *wanted))]
        rows.sort(key=_last, reverse=True)
        book = self._book
        beyond = {passed: sum(
            frames for total, frames in book.sums.items()
            if (total.reason, total.passed) == ('', passed) and is_wanted(passed, only)
            and (wanted is None or total.owner.vm in wanted[0])) for passed in (False, True)}
        return RefusedView(tuple(self.namer.name(row) for row in rows), book.since, book.read,
                           self.kept, book.gap if book.gap and book.gap[1] >= begin else None,
                           beyond[False], beyond[True])

    def _find(self, text: str) -> Tuple[FrozenSet[str], FrozenSet[str]]:
        """Return the uuids and the names in Dom0 of the VIFs that a text means."""
        try:
            found = find_vm(self._inventory, text)
        except NotOnHost:
            gone = {owner.vm for row in self._book.rows.values()
                    for owner in (row.sender, row.receiver) if owner}
            if text.lower() not in gone:
                raise
            return frozenset([text.lower()]), frozenset()
        whole = '/' not in text and not text.startswith(('vif', 'tap'))
        return (frozenset(view.vif.vm_uuid for view in found) if whole else frozenset(),
                frozenset(view.vif.id.vif for view in found))


def read_macs() -> Iterator[Tuple[Tuple[str, str], str]]:
    """Yield network and address of each member of a group on another host, and its MAC address."""
    for group in list_groups():
        for member in read_members(group):
            for address in member.addresses:
                yield (member.network, format_prefix(address)), member.mac


def is_about(row: Row, vms: FrozenSet[str], vifs: FrozenSet[str]) -> bool:
    """Tell whether one of these VMs or VIFs has part in a row."""
    return any(owner and (owner.vm in vms or owner.vif in vifs)
               for owner in (row.sender, row.receiver))


class Namer:
    """Finds names for what the switch has recorded, and why it was refused."""

    def __init__(self, inventory: Inventory, store: Xenstore) -> None:
        self._views = {view.vif.id.vif: view for view in inventory.vifs}
        self._by_mac = {(view.bridge, attached.network, view.vif.mac): view
                        for view in inventory.vifs for attached in view.vif.networks}
        self._places = read_places(inventory)
        # who is asked for by ARP has no MAC address yet
        self._by_address = {
            (view.bridge, attached.network, format_prefix(address)): view
            for view in inventory.vifs for attached in view.vif.networks
            for address in view.vif.policy.addresses or said_addresses(view, store)}
        self._names: Mapping[Tuple[str, str], VifName] = read_names()
        self._members = dict(read_macs()) if self._names else {}

    def name(self, row: Row) -> Refused:
        """Return a row with names."""
        refusal = row.refusal
        place = self._places.get((row.bridge, refusal.network))
        source = self._party(row, place, row.sender, refusal.source_mac, refusal.source)
        target = self._party(row, place, row.receiver, refusal.target_mac, refusal.target)
        owner = row.owner
        return Refused(row, self._owner(owner) if owner else '', source, target,
                       place.name if place else row.bridge,
                       self._because(row, place) if place else '')

    def _view(self, owner: Optional[Owner]) -> Optional[VifView]:
        """Return a VIF as it is now, if it still is that VM's."""
        view = self._views.get(owner.vif) if owner else None
        return view if view and owner and view.vif.vm_uuid == owner.vm else None

    def _owner(self, owner: Owner) -> str:
        view = self._view(owner)
        return label(view) if view else '%s of VM %s' % (owner.vif, owner.vm)

    def _party(self, row: Row, place: Optional[Place], owner: Optional[Owner], mac: str,
               address: str) -> Party:
        view = self._find(row, owner, mac, address)
        if view:
            return Party(view.vm_name or view.name, view.vif.id.vif, view.vif.vm_uuid, address, mac)
        if owner:
            return Party('', owner.vif, owner.vm, address, mac)
        uuid = place.uuid if place else ''
        there = self._names.get((uuid, mac)) or self._names.get(
            (uuid, self._members.get((uuid, address), '')))
        return Party(there.name if there else '', '', there.vm if there else '', address, mac)

    def _find(self, row: Row, owner: Optional[Owner], mac: str,
              address: str) -> Optional[VifView]:
        """Return the VIF of this host that an end is; an address alone may be forged."""
        network = row.refusal.network
        if owner or int(mac[:2] or '0', 16) & 1 == 0:
            return self._view(owner) or self._by_mac.get((row.bridge, network, mac))
        return self._by_address.get((row.bridge, network, address))

    # --- why -----------------------------------------------------------------------------------

    def _because(self, row: Row, place: Place) -> str:
        """Return the line of `explain` that refuses a row's frames, as policies are now."""
        refusal = row.refusal
        fixed = (FIXED_INGRESS if refusal.side == INGRESS else {}).get(
            refusal.reason) or FIXED.get(refusal.reason)
        if fixed:
            if refusal.reason == FORGED and self._is_own(row):
                return NOW_ADMITTED
            return fixed % {'mac': refusal.source_mac, 'address': refusal.source}
        ends = self.ends(row)
        if ends is None:
            return ''           # ARP without an address
        _, source, target = ends
        steps = [step for step in judge(place, source, target, talk_of(row),
                                        refusal.reason != UNASKED) if step.refuses]
        step = next((step for step in steps if step.judged == refusal.passed), (*steps, None)[0])
        return '%s: %s' % (step.side, step.because) if step else NOW_ADMITTED

    def _is_own(self, row: Row) -> bool:
        """Tell whether the address that a row's sender has used is its own by now."""
        view = self._view(row.sender)
        try:
            used = parse_prefix(row.refusal.source)
        except PolicyError:
            return False
        return view is not None and any(contains(own, used) for own in view.vif.policy.addresses)

    def ends(self, row: Row) -> Optional[Tuple[Place, End, End]]:
        """Return a row's network, sender and receiver as policies see them; None: not known."""
        refusal = row.refusal
        place = self._places.get((row.bridge, refusal.network))
        if place is None:
            return None
        gateways = {gateway.mac for gateway in place.facts.gateways if gateway.mac}
        ends: List[End] = []
        for owner, mac, address in ((row.sender, refusal.source_mac, refusal.source),
                                    (row.receiver, refusal.target_mac, refusal.target)):
            view = self._find(row, owner, mac, address)
            try:
                ends.append(End(label(view) if view else address, parse_prefix(address), mac,
                                view.vif if view else None, mac in gateways))
            except PolicyError:
                return None
        return place, ends[0], ends[1]

    def view_of(self, vif: str) -> Optional[VifView]:
        """Return a VIF of this host by its name in Dom0."""
        return self._views.get(vif)


def talk_of(row: Row) -> Talk:
    """Return what was said as services see it; of ARP as if it had been a ping."""
    refusal = row.refusal
    protocol, _, number = refusal.service.partition('/')
    if protocol in WITH_PORTS:
        ports = (int(number), CLIENT_PORT) if refusal.answer else (CLIENT_PORT, int(number))
        return Talk(protocol, *ports, answer=refusal.answer)
    if protocol in PINGS and protocol + '/135' != refusal.service:
        return Talk(protocol, 0, int(number))
    if protocol in ('arp', 'icmp6'):
        return Talk('icmp' if protocol == 'arp' else 'icmp6')
    return Talk(number if protocol == 'ip' else protocol)


def _last(row: Row) -> float:
    return row.last


def describe(view: RefusedView) -> Dict[str, Any]:
    """Return what was refused as JSON has it."""
    return {'since': view.since or None, 'kept': view.kept, 'gap': view.gap,
            'read': view.read, 'frames_beyond_the_record': view.beyond,
            'passed_beyond_the_record': view.beyond_passed,
            'refused': list(describe_rows(view.rows))}


def describe_rows(rows: Iterable[Refused]) -> Iterator[Dict[str, Any]]:
    """Yield rows as JSON has them."""
    for one in rows:
        row, refusal = one.row, one.row.refusal
        owner = row.owner
        yield {'vif': owner.vif if owner else None, 'vm': owner.vm if owner else None,
               'owner': one.owner or None,
               'network': one.network, 'bridge': row.bridge, 'direction': refusal.side,
               'reason': refusal.reason, 'because': one.because or None, 'passed': refusal.passed,
               'service': refusal.service, 'answer': refusal.answer, 'uplink': refusal.uplink,
               'frames': row.frames, 'first': round(row.first, 3), 'last': round(row.last, 3),
               'source': _describe_party(one.source), 'target': _describe_party(one.target)}


def _describe_party(party: Party) -> Dict[str, Any]:
    return {key: value or None for key, value in party._asdict().items()}
