"""The things xsisolate is about, as immutable values."""
from enum import IntEnum

from xsisolate.typing_compat import FrozenSet, Mapping, NamedTuple, Optional, Tuple


class Mode(IntEnum):
    """What a VIF may do, from the loosest to the strictest."""

    UNLOCKED = 0
    LOCKED = 1
    ISOLATED = 2
    DISABLED = 3
    QUARANTINED = 4     # never written by an admin: the answer to a bad policy

    @property
    def word(self) -> str:
        """The mode as vm-data and the configuration spell it."""
        return self.name.lower()


# What a network needs from one of its machines, and no other VIF may do.
GATEWAY = 'gateway'     # forwards for addresses outside the network
DHCP = 'dhcp'           # answers DHCP clients, or relays for who does
ROUTER = 'router'       # sends router advertisements
ROLES = (GATEWAY, DHCP, ROUTER)
# Those on other hosts are kept as a group's members, with whoever has additional MAC addresses;
# no group has such a name.
HOLDERS = '_roles'


class Prefix(NamedTuple):
    """An IPv4 or IPv6 network; a single address is its /32 or /128."""

    version: int        # 4 or 6
    value: int          # the network address as a number, host bits zero
    length: int         # 0..32 or 0..128


MAX_PORT = 65535
# Who may begin, as the VIF sees it whose policy is asked; the other end may only answer.
OUT, IN, EITHER = 'out', 'in', ''
OPPOSITE = {OUT: IN, IN: OUT, EITHER: EITHER}
ANYTHING = '*'              # in the place of a protocol: all of them


class Service(NamedTuple):
    """What may be said, a protocol and the server's ports or a type of ICMP, and who may begin."""

    protocol: str           # 'tcp', 'icmp6', 'esp', 'ip/89', ...: policy/service.py knows them
    first: int = 0          # first and last port, inclusive; of ICMP twice the type
    last: int = MAX_PORT    # 0 to 65535: the protocol as a whole
    direction: str = EITHER     # OUT, IN, or both ends may begin


class Peer(NamedTuple):
    """An entry of an allow list: a peer, and the service that it may use."""

    prefix: Optional[Prefix]            # None: the word `external`
    service: Optional[Service] = None   # None: everything, and both ends may begin


class Source(NamedTuple):
    """Where a VIF gets own addresses from that its policy does not list: a word in ipv4 or ipv6."""

    version: int        # 4 or 6
    word: str

    @property
    def key(self) -> str:
        """The key of vm-data in which the word stands."""
        return 'ipv%d' % self.version


LEASED4, LEASED6 = Source(4, 'dhcp'), Source(6, 'dhcp')     # what trusted servers lease to it
SLAAC = Source(6, 'slaac')      # what it makes of its MAC address in the network's /64s
SOURCES = (LEASED4, LEASED6, SLAAC)


class Identity(NamedTuple):
    """Which VIF a policy is meant for."""

    vm_uuid: str        # the canonical one: it survives migration and reboot
    devid: str
    mac: str            # lower case, colons


class VifPolicy(NamedTuple):
    """One VIF's policy as its VM's vm-data writes it; None: the key is absent."""

    mode: Optional[Mode] = None
    groups: Optional[FrozenSet[str]] = None
    allow: Optional[FrozenSet[Peer]] = None
    ipv4: Optional[FrozenSet[Prefix]] = None
    ipv6: Optional[FrozenSet[Prefix]] = None
    shared: Optional[FrozenSet[Prefix]] = None      # single own addresses that others may have, too
    roles: Optional[FrozenSet[str]] = None          # ROLES that the VIF holds on its networks
    mac: Optional[FrozenSet[str]] = None            # additional MAC addresses
    sources: FrozenSet[Source] = frozenset()        # those of a key are there only if its list is
    permissive: Optional[bool] = None               # None: what the configuration says


class Locking(NamedTuple):
    """XAPI's own locking mode of a VIF, from xenopsd's metadata."""

    mode: Mode = Mode.UNLOCKED          # UNLOCKED, LOCKED or DISABLED
    ipv4: FrozenSet[Prefix] = frozenset()
    ipv6: FrozenSet[Prefix] = frozenset()


class Gateway(NamedTuple):
    """A router that a network's VIFs may always resolve."""

    ipv4: Optional[Prefix] = None
    ipv6: Optional[Prefix] = None
    mac: Optional[str] = None           # lower case, colons
    roles: FrozenSet[str] = frozenset((GATEWAY, ROUTER))


class Holder(NamedTuple):
    """A VIF of the pool that the configuration gives roles on a network."""

    vm_uuid: str                        # lower case
    devid: str
    roles: FrozenSet[str]
    addresses: FrozenSet[Prefix] = frozenset()      # its own, if its policy names none


class Network(NamedTuple):
    """What the configuration says about one network."""

    default: Mode = Mode.UNLOCKED       # mode of VIFs that have no policy
    subnets: FrozenSet[Prefix] = frozenset()
    gateways: Tuple[Gateway, ...] = ()
    dhcp_servers: FrozenSet[Prefix] = frozenset()
    fail_closed: bool = False           # its bridge passes nothing while it has no flows
    holders: Tuple[Holder, ...] = ()
    permissive: Optional[bool] = None   # its VIFs are judged and not held; None: as all networks


class Group(NamedTuple):
    """What the configuration says about one isolation group."""

    addresses: FrozenSet[Prefix] = frozenset()      # members outside this pool
    vms: Optional[FrozenSet[str]] = None            # None: any VM may be a member
    rules: Optional[FrozenSet[Service]] = None      # None: members may say everything
    reach: FrozenSet[str] = frozenset()             # groups that members may talk to


class RemoteMember(NamedTuple):
    """A VIF on another host of the pool that is in a group."""

    network: str                        # network uuid
    mac: str                            # lower case, colons
    addresses: FrozenSet[Prefix]
    shared: FrozenSet[Prefix] = frozenset()     # those of them that others may have, too
    roles: FrozenSet[str] = frozenset()
    macs: FrozenSet[str] = frozenset()  # additional ones
    leased: FrozenSet[Prefix] = frozenset()     # those of them that yield to a fixed one


class PoolNetwork(NamedTuple):
    """A network of the pool as XAPI knows it."""

    uuid: str           # lower case
    bridge: str
    label: str          # name-label: not unique, and XAPI's admins change it


class Config(NamedTuple):
    """/etc/xsisolate/xsisolate.yaml, checked."""

    accept_unsealed: bool = False
    grace: int = 10                                 # seconds
    networks: Mapping[str, Network] = {}
    groups: Mapping[str, Group] = {}
    local: bool = False                             # the pool's configuration does not replace it
    guard: bool = False                             # no VM starts on a host without xsisolate
    permissive: bool = False                        # so are VIFs of networks that do not say


class EffectivePolicy(NamedTuple):
    """What a VIF may do when everything that has a say has spoken."""

    mode: Mode
    addresses: FrozenSet[Prefix] = frozenset()      # the VIF's own, link-local included
    groups: FrozenSet[str] = frozenset()
    allow: FrozenSet[Peer] = frozenset()
    reason: str = ''                                # why it is quarantined
    shared: FrozenSet[Prefix] = frozenset()     # own ones that members of its groups may have, too
    unproven: bool = False          # vm-data and seal do not fit; perhaps they will in a moment
    roles: FrozenSet[str] = frozenset()
    macs: FrozenSet[str] = frozenset()  # additional MAC addresses: policy/additional_macs.py
    sources: FrozenSet[Source] = frozenset()    # where more own addresses may come from
    leased: FrozenSet[Prefix] = frozenset()     # own ones that yield to whoever has them fixed
    permissive: bool = False        # judged only: XAPI's locking mode says what passes
    would_be: str = ''              # why its policy would be refused, were it not permissive

    @property
    def is_loose(self) -> bool:
        """Tell whether XAPI's locking mode alone holds the VIF, whatever its policy says."""
        return self.permissive or bool(self.would_be)
