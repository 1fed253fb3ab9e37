"""What the policy says of one frame: who must not, may and must see it.

Written from docs/admin-guide.md and docs/security.md, not from the flows: it
reads the frame's bytes as a receiver would and asks the tables of the world.
It is conservative: what is not clearly admitted must not arrive, and only what
is clearly legitimate must. Each documented exception names its reason.
"""
import ipaddress
import struct
from typing import Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple, Union

from support.packets.rows import DOM0, UPLINK
from support.packets.shared_network import (GATEWAY_MAC, LAN, POLICIES, REMOTE, SPECIAL, Who,
                                            vm_mac)

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Service = Tuple[str, int, int]
Conversation = Tuple[int, Address, int, Address, int]     # a protocol, source and destination
Entry = Tuple[Optional[Network], Optional[Service], str]

SUBNETS = tuple(map(ipaddress.ip_network, ('10.9.0.0/24', 'fd00:9::/64')))
RULES: Mapping[str, Tuple[str, ...]] = {
    'svc': ('tcp/22', 'udp/53', 'tcp/8000-8003', 'udp/6000-6010', 'icmp', 'icmp6',
            'sctp/3868', 'esp', 'ip/89', 'tftp')}
REACH = frozenset((frozenset(('north', 'south')),))
OUTSIDERS = {'outer': frozenset(map(ipaddress.ip_address, ('10.9.0.103',)))}
ZERO4, ALL4 = ipaddress.ip_address('0.0.0.0'), ipaddress.ip_address('255.255.255.255')
ZERO6 = ipaddress.ip_address('::')
NEVER_OUTSIDE = tuple(map(ipaddress.ip_network, (
    '0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3', '::/8', 'fe80::/10', 'ff00::/8')))
NO_MAC = '00:00:00:00:00:00'
IPV4, IPV6, ARP, TAGS = 0x800, 0x86dd, 0x806, (0x8100, 0x88a8)
ICMP, IGMP, TCP, UDP, ICMP6, SCTP, BROKEN = 1, 2, 6, 17, 58, 132, -1
NUMBERS = {'tcp': TCP, 'udp': UDP, 'sctp': SCTP, 'gre': 47, 'esp': 50}
ECHO = {'icmp': {8: 0, 13: 14}, 'icmp6': {128: 129}}
RRQ = 69
ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
MLD_TELLS = (131, 132, 143)         # reports and done


class Party(NamedTuple):
    """A machine and what its policy says."""

    who: Who
    place: str                      # where its frames are seen
    mode: str                       # isolated, locked, closed, unmanaged, outside, gateway
    groups: FrozenSet[str] = frozenset()
    allow: Tuple[Entry, ...] = ()
    additional: FrozenSet[str] = frozenset()        # MAC addresses
    roles: FrozenSet[str] = frozenset()

    @property
    def macs(self) -> FrozenSet[str]:
        """Its MAC addresses."""
        return self.additional | {self.who.mac}

    @property
    def managed(self) -> bool:
        """Tell whether it is a VIF of this host with a policy."""
        return self.mode in ('isolated', 'locked', 'closed')

    @property
    def own(self) -> FrozenSet[Address]:
        """Its addresses."""
        return frozenset(map(ipaddress.ip_address, (self.who.ip, self.who.ip6, self.who.ll)))


def service(text: str) -> Service:
    """Return protocol, first and last port."""
    protocol, _, ports = text.partition('/')
    first, _, last = ports.partition('-')
    return protocol, int(first or 0), int(last or first or 65535)


def allowed(text: str) -> Iterator[Entry]:
    """Yield an allow list's entries, with their direction; no network: external."""
    for word in text.replace(',', ' ').split():
        direction = word[:word.find(':')] if word.startswith(('in:', 'out:')) else ''
        what, _, where = word[len(direction and direction + ':'):].rpartition('@')
        yield (None if where == 'external' else ipaddress.ip_network(where),
               service(what) if what else None, direction)


def parties() -> Dict[str, Party]:
    """Return everybody on the network."""
    out = {}
    for name, number, policy in POLICIES + SPECIAL:
        text = policy or {}
        mode = text.get('mode') or ('isolated' if policy else 'unmanaged')
        mode = {'disabled': 'closed', 'bogus': 'closed'}.get(mode, mode)
        out[name] = Party(Who(name, number, vm_mac(number)), name, mode,
                          frozenset(text.get('groups', '').split()),
                          tuple(allowed(text.get('allow', ''))),
                          frozenset(text.get('vif/0/mac', '').split()),
                          frozenset(text.get('vif/0/roles', '').split()))
    remote = {name: frozenset((group,)) for group, name in REMOTE.items()}
    for name, number in LAN:
        out[name] = Party(Who(name, number, '02:00:00:00:aa:%02x' % number), UPLINK, 'outside',
                          remote.get(name, frozenset()))
    out['gw'] = Party(Who('gw', 254, GATEWAY_MAC), UPLINK, 'gateway')
    out[DOM0] = Party(Who(DOM0, 99, '02:00:00:00:dd:63'), DOM0, 'unmanaged')
    return out


PARTIES = parties()
BY_MAC = {mac: party for party in PARTIES.values() for mac in party.macs}
BY_ADDRESS = {address: party for party in PARTIES.values() for address in party.own}


class Arp(NamedTuple):
    """An ARP packet of Ethernet and IPv4."""

    op: int
    sha: str
    spa: Address
    tpa: Address


class Ip(NamedTuple):
    """A packet as its receiver reads it."""

    version: int
    src: Address
    dst: Address
    ttl: int
    proto: int
    fragment: bool = False
    later: bool = False
    odd: bool = False               # headers or options in between, or a wrong version
    data: bytes = b''               # behind all headers

    @property
    def ports(self) -> Tuple[int, int]:
        """Source and destination port, -1 where there are none to be read."""
        if self.fragment or len(self.data) < {TCP: 20, UDP: 8, SCTP: 12}.get(
                self.proto, 1 << 16):
            return -1, -1
        return struct.unpack('!HH', self.data[:4])

    @property
    def icmp(self) -> Tuple[int, int]:
        """ICMP type and code, -1 where there are none to be read."""
        wanted = ICMP if self.version == 4 else ICMP6
        if self.proto != wanted or self.later or len(self.data) < 4:
            return -1, -1
        return self.data[0], self.data[1]

    @property
    def resolving(self) -> bool:
        """Tell whether this is neighbour discovery."""
        return self.icmp[0] in (135, 136) and self.version == 6

    @property
    def control(self) -> bool:
        """Tell whether it is what no service names: resolution, and ICMP errors."""
        return self.resolving or (not self.fragment and self.icmp[0] in ERRORS[self.version])

    @property
    def conversation(self) -> Optional[Conversation]:
        """What it belongs to, None of a fragment, or where that cannot be read."""
        if self.fragment or self.proto in (TCP, UDP, SCTP) and self.ports[0] < 0:
            return None
        # of ICMP the identifier, which is one for both directions
        number = int.from_bytes(self.data[4:6], 'big') if self.proto in (ICMP, ICMP6) else 0
        return (self.proto, self.src, *(self.ports[:1] if self.proto in (TCP, UDP, SCTP) else (
            number,)), self.dst, self.ports[1] if self.proto in (TCP, UDP, SCTP) else number)

    @property
    def begins(self) -> bool:
        """Tell whether a segment begins a connection; what is not TCP may always begin."""
        return self.proto != TCP or len(self.data) > 13 and self.data[13] & 0x17 == 2

    @property
    def inner(self) -> Optional['Ip']:
        """The packet that an ICMP error is about."""
        return (parse_ipv4 if self.version == 4 else parse_ipv6)(self.data[8:])

    @property
    def target(self) -> Address:
        """The target of neighbour discovery."""
        return ipaddress.ip_address(self.data[8:24]) if len(self.data) >= 24 else ZERO6

    @property
    def options(self) -> List[Tuple[int, bytes]]:
        """Options of neighbour discovery; a malformed one ends them, as RFC 4861 says."""
        out, at = [], 24
        while at + 2 <= len(self.data):
            size = self.data[at + 1] * 8
            if not size or at + size > len(self.data):
                break
            out.append((self.data[at], self.data[at + 2:at + size]))
            at += size
        return out


class Packet(NamedTuple):
    """A frame taken apart; neither `arp` nor `ip`: something else, or broken."""

    dst: str
    src: str
    tags: Tuple[int, ...]
    kind: int
    arp: Optional[Arp] = None
    ip: Optional[Ip] = None

    @property
    def aloud(self) -> bool:
        """Tell whether it is for more than one."""
        return bool(int(self.dst[:2], 16) & 1)

    @property
    def is_dhcp_query(self) -> bool:
        """Tell whether a client asks a DHCP server."""
        return self.ip is not None and self.ip.proto == UDP and self.ip.ports == (
            (68, 67) if self.ip.version == 4 else (546, 547))

    @property
    def is_dhcp_answer(self) -> bool:
        """Tell whether a DHCP server answers a client."""
        return self.ip is not None and self.ip.proto == UDP and self.ip.ports == (
            (67, 68) if self.ip.version == 4 else (547, 546))


def text_mac(raw: bytes) -> str:
    """Return a MAC address as text."""
    return ':'.join('%02x' % byte for byte in raw)


def parse(frame: bytes) -> Packet:
    """Take a frame apart."""
    tags, at = [], 12
    kind = int.from_bytes(frame[at:at + 2], 'big')
    while kind in TAGS and len(frame) >= at + 6:
        tags.append(int.from_bytes(frame[at + 2:at + 4], 'big') & 0xfff)
        at += 4
        kind = int.from_bytes(frame[at:at + 2], 'big')
    packet = Packet(text_mac(frame[:6]), text_mac(frame[6:12]), tuple(tags), kind)
    data = frame[at + 2:]
    if kind == ARP:
        return packet._replace(arp=parse_arp(data))
    if kind == IPV4:
        return packet._replace(ip=parse_ipv4(data))
    return packet._replace(ip=parse_ipv6(data)) if kind == IPV6 else packet


def parse_arp(data: bytes) -> Optional[Arp]:
    """Return an ARP packet, None if it is cut or of another hardware or protocol."""
    if len(data) < 28 or data[:6] != b'\0\x01\x08\0\x06\x04':
        return None
    return Arp(int.from_bytes(data[6:8], 'big'), text_mac(data[8:14]),
               ipaddress.ip_address(data[14:18]), ipaddress.ip_address(data[24:28]))


def parse_ipv4(data: bytes) -> Optional[Ip]:
    """Return an IPv4 packet, None if it is broken.

    The switch goes by the ethertype and cannot see the version in the header.
    Receivers look at it first, and discard what is wrong: so it may pass.
    """
    if len(data) < 20:
        return None
    header, total = (data[0] & 15) * 4, int.from_bytes(data[2:4], 'big')
    where = int.from_bytes(data[6:8], 'big')
    if header < 20 or total < header or total > len(data):
        return None
    return Ip(4, ipaddress.ip_address(data[12:16]), ipaddress.ip_address(data[16:20]), data[8],
              data[9], bool(where & 0x3fff), bool(where & 0x1fff),
              header > 20 or data[0] >> 4 != 4, data[header:total])


def parse_ipv6(data: bytes) -> Optional[Ip]:
    """Return an IPv6 packet, None if it or its chain of headers is broken."""
    if len(data) < 40 + int.from_bytes(data[4:6], 'big'):
        return None
    src, dst = ipaddress.ip_address(data[8:24]), ipaddress.ip_address(data[24:40])
    kind, ttl = data[6], data[7]
    rest = data[40:40 + int.from_bytes(data[4:6], 'big')]
    fragment = later = False
    odd = data[0] >> 4 != 6
    while kind in (0, 43, 44, 51, 60) and not later:
        size = 8 if kind == 44 else (rest[1] + 2) * 4 if kind == 51 and len(rest) > 1 else (
            (rest[1] + 1) * 8 if len(rest) > 1 else 8)
        if len(rest) < max(size, 8):    # from a peer it may come, and is discarded
            return Ip(6, src, dst, ttl, BROKEN, odd=True)
        if kind == 44:
            # An atomic fragment is whole: the switch sees into it, and judges what it sees.
            where = int.from_bytes(rest[2:4], 'big')
            fragment, later = fragment or bool(where & 0xfff9), bool(where & 0xfff8)
        kind, rest, odd = rest[0], rest[size:], True
    return Ip(6, src, dst, ttl, kind, fragment, later, odd, rest)


class Ruling(NamedTuple):
    """Who may see a frame, and who must; nobody else must see it."""

    may: FrozenSet[str]
    must: FrozenSet[str]
    why: str


def nobody(why: str) -> Ruling:
    """Return that a frame must not arrive anywhere."""
    return Ruling(frozenset(), frozenset(), why)


class Oracle:
    """Rules on frames one after the other, for answers follow from what was begun."""

    def __init__(self, present: Set[str]) -> None:
        self.present = present              # the VMs that run
        self.asked: Set[Conversation] = set()
        self.routers = frozenset(name for name in present if 'router' in PARTIES[name].roles)
        self.open = frozenset(name for name in present
                              if PARTIES[name].mode in ('unmanaged', 'locked')) | {DOM0, UPLINK}

    def rule(self, sender: str, frame: bytes) -> Ruling:
        """Say who may and must see a frame; `sender` names the port that it really comes from."""
        packet = parse(frame)
        ruling = self._rule(PARTIES[sender], packet)
        here = PARTIES[sender].place
        ruling = ruling._replace(may=ruling.may - {here}, must=ruling.must - {here})
        if packet.ip and ruling.may and packet.ip.begins and packet.ip.conversation:
            self.asked.add(packet.ip.conversation)
        return ruling

    def _rule(self, sender: Party, packet: Packet) -> Ruling:
        if sender.mode == 'closed':
            return nobody('nothing leaves a disabled or quarantined VIF')
        if sender.managed:
            lie = forgery(sender, packet)
            if lie:
                return nobody('forged by a managed VIF: ' + lie)
        else:
            theft = stolen(sender, packet, self.present)
            if theft:
                return nobody(theft)
            # A priority tag names no VLAN: the frame is on the untagged network.
            if packet.tags == (0,):
                return self._rule(sender, packet._replace(tags=()))._replace(must=frozenset())
            if packet.tags:
                return Ruling(self.open, frozenset(), 'another VLAN: unmanaged ports at most')
        if sender.mode == 'isolated':
            return self._from_isolated(sender, packet)
        return self._from_others(sender, packet)

    # From isolated VIFs: only to peers.

    def _from_isolated(self, sender: Party, packet: Packet) -> Ruling:
        there = BY_MAC.get(packet.dst)
        local = there is not None and there.managed and there.place in self.present
        if packet.ip and packet.is_dhcp_query and not local:
            # "DHCP requests may carry anything to UDP port 67 beyond the uplink."
            inside = packet.ip.dst in SUBNETS[0] or packet.ip.dst in SUBNETS[1]
            if packet.aloud or inside:
                return Ruling(frozenset((UPLINK,)), self._must(packet.aloud, UPLINK),
                              'DHCP goes to the uplink')
        return self._aloud(sender, packet) if packet.aloud else self._directed(sender, packet)

    def _must(self, condition: object, *places: str) -> FrozenSet[str]:
        return frozenset(places) if condition else frozenset()

    def _aloud(self, sender: Party, packet: Packet) -> Ruling:
        group = frozenset(
            party.place for party in PARTIES.values()
            if party.place in self.present and party.mode == 'isolated'
            and self._group_says(sender, party, packet)) - {sender.place}
        wanted = packet.arp.tpa if packet.arp else None
        if packet.ip and packet.ip.version == 6:
            kind = packet.ip.icmp[0]
            if kind in MLD_TELLS:
                return Ruling(frozenset((UPLINK,)), frozenset(), 'routers are beyond the uplink')
            if kind == 133:
                return Ruling(self.routers | {UPLINK}, frozenset(), 'for routers')
            if kind == 136:
                return self._announced(sender, packet, group)
            wanted = packet.ip.target if kind == 135 else None
        if wanted is None:
            plain = packet.ip is not None and not packet.ip.fragment and not packet.ip.odd and (
                packet.ip.proto == UDP and packet.ip.ports in ((5353, 5353), (53, 9))) and (
                    packet.ip.dst == ALL4 or packet.ip.dst.is_multicast) and packet.ip.ttl > 0
            return Ruling(group if packet.ip else frozenset(), group if plain else frozenset(),
                          'multicast is for the groups')
        if wanted in sender.own:
            return self._announced(sender, packet, group)
        owner = BY_ADDRESS.get(wanted)
        # Where a closed VIF's addresses are nobody asks the switch.
        if owner and owner.mode != 'closed' and self._known_to(sender, owner):
            told = self._directed(sender, packet._replace(dst=owner.who.mac))
            proper = not packet.ip or packet.ip.dst in SUBNET_SOLICITED
            if told.may or wanted not in NEVER_OUTSIDE[5] or owner.mode != 'gateway':
                return told if proper else told._replace(must=frozenset())
        if self._listed(sender, wanted, packet):
            # "Its ARP or ND requests ... are flooded: nobody knows where it is."
            return Ruling(self.open, frozenset(), 'an unmanaged peer is asked for aloud')
        if wanted in NEVER_OUTSIDE[5]:
            # A router's link-local address is in no configuration. Whatever IP destination
            # the solicitation has, its MAC address is a group's: no router forwards it.
            return Ruling(frozenset((UPLINK,)), frozenset(), 'perhaps the router\'s link-local')
        return nobody('asks for a stranger')

    def _announced(self, sender: Party, packet: Packet, group: FrozenSet[str]) -> Ruling:
        return Ruling(group | self.routers | {UPLINK}, self._must(clear(sender, packet), UPLINK),
                      'announces itself to its groups, to those with roles, and the uplink')

    def _directed(self, sender: Party, packet: Packet) -> Ruling:
        party = packet.arp.tpa if packet.arp else packet.ip.dst if packet.ip else None
        if party is None:
            return nobody('no address to judge by')
        if packet.ip and packet.ip.icmp[0] == 135 and party in SUBNET_SOLICITED:
            party = packet.ip.target
        if not self._admits(sender, party, packet.dst, packet, UPLINK):
            return nobody('%s is no peer of %s there' % (party, sender.who.name))
        receiver = BY_MAC.get(packet.dst)
        if receiver and receiver.place in self.present and receiver.managed:
            return self._to_managed(sender, receiver, packet)
        if receiver and self._known_to(sender, receiver):
            return Ruling(frozenset((UPLINK,)), self._must(clear(sender, packet), UPLINK),
                          'a peer beyond the uplink')
        # "... and first frames are flooded to unmanaged ports."
        found = receiver and receiver.who.name in self.present
        return Ruling(self.open, self._must(found and clear(sender, packet),
                                            receiver.place if receiver else ''),
                      'an unmanaged peer, wherever it is')

    # From locked VIFs, unmanaged ones, Dom0 and outside: everywhere but to isolated VIFs.

    def _from_others(self, sender: Party, packet: Packet) -> Ruling:
        ruling = Ruling(self.open, frozenset(), 'as without xsisolate')
        if not packet.aloud:
            receiver = BY_MAC.get(packet.dst)
            if not receiver or receiver.place not in self.present:
                return ruling
            told = self._to_managed(sender, receiver, packet) if receiver.managed else Ruling(
                frozenset(), self._must(clear(sender, packet), receiver.place), '')
            return Ruling(self.open | told.may, told.must, told.why or ruling.why)
        wanted = packet.arp.tpa if packet.arp else packet.ip.target if (
            packet.ip and packet.ip.icmp[0] == 135) else None
        owner = BY_ADDRESS.get(wanted) if wanted else None
        if owner and owner.mode == 'isolated' and owner.place in self.present:
            told = self._to_managed(sender, owner, packet)
            return told._replace(may=told.may | self.open)
        if (sender.place == UPLINK and (packet.is_dhcp_answer or self._is_advertisement(packet))
                or self._advertises(sender, packet)):
            # "DHCP answers and router advertisements reach every isolated VIF."
            every = frozenset(name for name in self.present if PARTIES[name].mode == 'isolated')
            return Ruling(self.open | every, frozenset(), 'infrastructure')
        return ruling

    def _is_advertisement(self, packet: Packet) -> bool:
        return packet.src == GATEWAY_MAC and bool(packet.ip) and (
            packet.ip.version, packet.ip.icmp[0]) == (6, 134)       # type: ignore

    def _advertises(self, sender: Party, packet: Packet) -> bool:
        """Tell whether a VIF advertises itself as the router that it is."""
        return 'router' in sender.roles and packet.ip is not None and (
            packet.ip.version, packet.ip.icmp[0]) == (6, 134)

    def _to_managed(self, sender: Party, receiver: Party, packet: Packet) -> Ruling:
        """Rule on a frame that goes to a managed VIF of this host and nowhere else."""
        if receiver.mode == 'closed':
            return nobody('nothing enters a disabled or quarantined VIF')
        there = frozenset((receiver.place,))
        if receiver.mode == 'locked':
            return Ruling(there, self._must(clear(sender, packet), *there), 'to a locked VIF')
        if not packet.ip and not packet.arp:
            return nobody('nothing but IP and ARP enters an isolated VIF')
        outside = sender.place == UPLINK
        if packet.ip:
            if outside and (packet.is_dhcp_answer or self._is_advertisement(packet)) or (
                    self._advertises(sender, packet)):
                return Ruling(there, frozenset(), 'infrastructure')
            if packet.ip.proto == UDP and packet.ip.ports[1] == (
                    68 if packet.ip.version == 4 else 546):
                return nobody('a DHCP answer of a stranger')
            if (packet.ip.version, packet.ip.icmp[0]) in ((6, 134), (6, 137), (4, 5)) and not (
                    packet.ip.fragment):
                return nobody('routes of a stranger')
        claims = [packet.arp.spa] if packet.arp else [packet.ip.src] if packet.ip else []
        if packet.ip and packet.ip.icmp[0] == 136 and packet.ip.version == 6:
            claims.append(packet.ip.target)
        for claim in claims:
            if not self._admits(receiver, claim, packet.src, packet, sender.place):
                return nobody('%s does not admit %s there' % (receiver.who.name, claim))
        return Ruling(there, self._must(clear(sender, packet), *there), 'admitted')

    # The question: is this address, with this MAC address, a peer?

    def _known_to(self, asker: Party, owner: Party) -> bool:
        """Tell whether the asker's policy knows the owner's MAC address."""
        return (owner.managed and owner.place in self.present) or owner.mode == 'gateway' or (
            owner.mode == 'outside' and bool(owner.groups & asker.groups))

    def _admits(self, asker: Party, address: Address, mac: str, packet: Packet,
                place: str) -> bool:
        there, owner = BY_MAC.get(mac), BY_ADDRESS.get(address)
        resolving = bool(packet.arp) or (packet.ip is not None and packet.ip.resolving)
        if there and not self._known_to(asker, there):
            there = None
        if owner and not self._known_to(asker, owner):
            owner = None
        if there and there.mode == 'gateway':
            if place != UPLINK:
                return False
            return self._admits_gateway(asker, address, owner, packet, resolving)
        if there and there.roles and owner == there and resolving:
            return True         # all may look for the holder of a role, and it for all
        if there:
            if owner != there or owner.mode == 'closed' or (
                    owner.mode == 'outside' and place != UPLINK):
                return False
            return self._peers(asker, owner, address, packet)
        return owner is None and self._listed(asker, address, packet)

    def _admits_gateway(self, asker: Party, address: Address, owner: Optional[Party],
                        packet: Packet, resolving: bool) -> bool:
        """Tell whether the gateway may speak for an address, or carry frames for it."""
        if owner and owner.mode == 'gateway':
            control = resolving or (packet.ip is not None and packet.ip.control)
            return control or self._listed(asker, address, packet, outside=True)
        if address in NEVER_OUTSIDE[5]:
            return resolving and owner is None      # its own link-local is in no configuration
        if owner:
            # "judged by those addresses"
            return not resolving and owner.mode != 'closed' and self._peers(
                asker, owner, address, packet)
        outside = not any(address in net for net in SUBNETS + NEVER_OUTSIDE)
        return self._listed(asker, address, packet, outside=outside)

    def _peers(self, asker: Party, other: Party, address: Address, packet: Packet) -> bool:
        return self._group_says(asker, other, packet) or self._listed(asker, address, packet)

    def _group_says(self, asker: Party, other: Party, packet: Packet) -> bool:
        for mine in asker.groups:
            for theirs in other.groups:
                if mine != theirs and frozenset((mine, theirs)) not in REACH:
                    continue
                if mine not in RULES or any(self._serves(service(rule), packet)
                                            for rule in RULES[mine]):
                    return True
        return False

    def _listed(self, asker: Party, address: Address, packet: Packet,
                outside: bool = False) -> bool:
        if any(address in OUTSIDERS.get(group, ()) for group in asker.groups):
            return True
        return any((outside if net is None else address in net)
                   and self._entry_says(what, direction, packet.src in asker.macs, packet)
                   for net, what, direction in asker.allow)

    def _entry_says(self, what: Optional[Service], direction: str, leaves: bool,
                    packet: Packet) -> bool:
        """Tell whether an entry admits a packet, which the VIF that has the entry sends or not."""
        if what is None and not direction:
            return True
        if packet.arp or (packet.ip and packet.ip.resolving):
            return True     # "peers resolve each other, whoever may begin"
        if packet.ip is None:
            return False
        if not direction:
            assert what is not None
            return self._serves(what, packet)
        if packet.ip.fragment:
            return False    # "an entry with a direction admits no fragments"
        if packet.ip.control:
            return self._is_about_known(packet.ip)
        if (direction == 'out') == leaves:
            return (what is None or self._asks(what, packet.ip)) and (
                packet.ip.begins or self._is_known(packet.ip, True))
        return self._is_known(packet.ip, False)

    def _is_known(self, ip: Ip, either: bool) -> bool:
        """Tell whether a packet may belong to what was begun: by the other end, or by either."""
        if ip.conversation is None:
            return False
        proto, src, sport, dst, dport = ip.conversation
        return (proto, dst, dport, src, sport) in self.asked or (
            either and ip.conversation in self.asked)

    def _is_about_known(self, ip: Ip) -> bool:
        """Tell whether an ICMP error is about something that was begun."""
        return ip.inner is not None and self._is_known(ip.inner, True)

    @staticmethod
    def _asks(what: Service, ip: Ip) -> bool:
        """Tell whether a packet goes to a service."""
        protocol, first, last = what
        if protocol in ('icmp', 'icmp6'):
            return (ip.version, ip.proto) == ((4, ICMP) if protocol == 'icmp' else (6, ICMP6)) and (
                (first, last) == (0, 65535) or ip.icmp[0] == first)
        return ip.proto == NUMBERS[protocol] and (
            (first, last) == (0, 65535) or first <= ip.ports[1] <= last)

    def _serves(self, what: Service, packet: Packet) -> bool:
        """Tell whether a service admits a packet, on whichever end the server is."""
        protocol, first, last = what
        if packet.arp or (packet.ip and packet.ip.resolving):
            return True     # "ARP and ND of an admitted peer always pass"
        if packet.ip is None:
            return False
        ip = packet.ip
        if ip.control and (protocol != 'tftp' and protocol not in NUMBERS
                           or protocol in ('gre', 'esp') or (first, last) == (0, 65535)
                           and protocol != 'tftp'):
            return True     # "of what is not followed every ICMP error passes"
        if ip.control:
            return self._is_about_known(ip)
        if protocol in ('icmp', 'icmp6'):
            return (ip.version, ip.proto) == (
                (4, ICMP) if protocol == 'icmp' else (6, ICMP6)) and (
                    (first, last) == (0, 65535) or ip.later or ip.icmp[0] in (
                        first, ECHO[protocol].get(first)))
        if protocol == 'ip':
            return ip.proto == first
        if protocol == 'tftp':
            return ip.proto == UDP and self._is_tftp(ip)
        if ip.proto != NUMBERS[protocol]:
            return False
        if (first, last) == (0, 65535):
            return True
        sport, dport = ip.ports
        if first <= dport <= last and (ip.begins or self._is_known(ip, True)):
            return True
        return first <= sport <= last and self._is_known(ip, False)

    def _is_tftp(self, ip: Ip) -> bool:
        """Tell whether a datagram asks for a file, or belongs to one that was asked for."""
        sport, dport = ip.ports
        return dport == RRQ or {(UDP, ip.dst, dport, ip.src, sport), (
            UDP, ip.dst, dport, ip.src, RRQ)} & self.asked != set()


SUBNET_SOLICITED = ipaddress.ip_network('ff02::1:ff00:0/104')


def stolen(sender: Party, packet: Packet, present: Set[str]) -> str:
    """Return why nobody must see what an unmanaged machine sends, if so."""
    if packet.tags and packet.tags[0]:
        return ''           # MAC addresses belong to somebody on one network
    owner = BY_MAC.get(packet.src)
    if owner is None or owner == sender:
        return ''
    if owner.managed and owner.place in present:
        # Quarantined and disabled VIFs have not spoken: they may live elsewhere.
        if sender.place == UPLINK and owner.mode == 'closed':
            return ''
        return 'the MAC address of a managed VIF is stolen'
    if owner.mode == 'gateway' and sender.place != UPLINK:
        return 'the MAC address of the gateway is stolen'
    return ''


def forgery(me: Party, packet: Packet) -> str:
    """Return what a managed VIF's frame lies about, or must not be, empty if it is honest."""
    if packet.tags:
        return 'a VLAN tag'
    if packet.src not in me.macs:
        return 'MAC address'
    if packet.dst.startswith('01:80:c2:00:00:0'):
        return 'a switch protocol'
    if packet.arp:
        return arp_forgery(me, packet.arp)
    if not packet.ip:
        return 'neither ARP nor IP, or broken'
    return ip_forgery(me, packet.ip, packet)


def arp_forgery(me: Party, arp: Arp) -> str:
    """Return what an ARP packet lies about."""
    if arp.op not in (1, 2):
        return 'ARP operation'
    if arp.sha not in me.macs:
        return 'ARP sender MAC address'
    probe = arp.op == 1 and arp.spa == ZERO4
    return '' if (arp.tpa if probe else arp.spa) in me.own else 'ARP sender'


def ip_forgery(me: Party, ip: Ip, packet: Packet) -> str:
    """Return what an IP packet lies about."""
    if ip.proto == BROKEN:
        return 'a chain of headers without end'
    if ip.fragment and packet.aloud:
        return 'fragments to a multicast address'
    if ip.proto == UDP and not ip.fragment:
        server, client = (67, 68) if ip.version == 4 else (547, 546)
        if ip.ports[0] == server or ip.ports[1] == client:
            return 'DHCP server'
    if ip.version == 4:
        # Fragments hide ports and ICMP types: "only peers accept it".
        if ip.icmp[0] in (5, 9) and not ip.fragment:
            return 'redirect or router advertisement'
        if ip.proto == IGMP and not (me.mode == 'locked' and str(ip.dst) in (
                '224.0.0.22', '224.0.0.2')):
            return 'IGMP'
        if ip.src == ZERO4 and packet.is_dhcp_query and ip.dst == ALL4:
            return ''
        return '' if ip.src in me.own else 'source address'
    return icmp6_forgery(me, ip) or ('' if ip.src in me.own or (
        ip.src == ZERO6 and ip.proto == ICMP6 and starts_unnamed(ip)) else 'source address')


def starts_unnamed(ip: Ip) -> bool:
    """Tell whether a packet may have no source: DAD, RS, MLD."""
    kind = ip.icmp[0]
    return kind == 135 or (kind == 133 and str(ip.dst) == 'ff02::2') or (
        kind in (131, 143) and ip.dst in ipaddress.ip_network('ff02::/16'))


def icmp6_forgery(me: Party, ip: Ip) -> str:
    """Return what neighbour discovery lies about."""
    if ip.proto != ICMP6 or ip.later:   # without its first, which is refused, it is nothing
        return ''
    kind, code = ip.icmp
    if ip.fragment:
        return 'ICMPv6 in a fragment'
    if kind < 0:
        return 'ICMPv6 cut short'
    if kind == 134 and 'router' in me.roles and (ip.ttl, code) == (255, 0):
        return ''
    if kind in (130, 134, 137):
        return 'router or querier'
    if kind not in (133, 135, 136):
        return ''
    if ip.ttl != 255 or code:
        return 'ND that is not of this link'
    if kind == 133:
        # "no receiver falls for it": an option of a solicitation only routers read
        return ''
    if len(ip.data) < 24:
        return 'ND cut short'
    link = [value for option, value in ip.options if option == (1 if kind == 135 else 2)]
    # An option of another length than 8, or of the other kind, receivers ignore.
    if any(len(value) == 6 and text_mac(value) not in (*me.macs, NO_MAC) for value in link):
        return 'link-layer option'
    if kind == 136:
        return '' if ip.target in me.own else 'advertised address'
    if ip.src == ZERO6:
        return '' if ip.target in me.own and not link else 'probed address'
    return ''


def clear(sender: Party, packet: Packet) -> bool:
    """Tell whether a frame, if admitted, is clearly legitimate: everyday and without fault."""
    if packet.src not in sender.macs or packet.tags:
        return False
    if packet.arp:
        arp = packet.arp
        # probes of strangers, replies aloud and the like: whoever wants to
        return arp.sha in sender.macs and arp.spa in sender.own and arp.op == (
            1 if packet.aloud else arp.op) and arp.op in (1, 2)
    ip = packet.ip
    if not ip or ip.fragment or ip.odd or not ip.ttl or ip.src not in sender.own:
        return False
    if ip.proto in (TCP, UDP):
        receiver = BY_MAC.get(packet.dst)
        return min(ip.ports) > 0 and not {67, 68, 546, 547} & set(ip.ports) and (
            receiver is not None and ip.dst in receiver.own) and (
                ip.begins and ip.ports[0] == 4000 if ip.proto == TCP else ip.ports == (4000, 4000))
    if ip.proto != (ICMP if ip.version == 4 else ICMP6):
        return False
    kind, code = ip.icmp
    if ip.resolving:
        return ip.ttl == 255 and code == 0 and len(ip.data) >= 24 and all(
            option in (1, 2) and text_mac(value) in sender.macs
            for option, value in ip.options) and len(ip.options) < 2 and len(ip.data) == (
                24 + 8 * len(ip.options)) and not (ip.dst.is_multicast and not packet.aloud)
    return kind == (8 if ip.version == 4 else 128)     # all else may answer what is forgotten
