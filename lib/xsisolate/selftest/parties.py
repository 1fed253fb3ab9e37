"""Who is on the self-test's bridge, and what policy says of them.

The names and addresses are also those of the corpus of frames (corpus.py).
"""
from typing import Mapping, NamedTuple, Optional, Sequence, Tuple

from xsisolate.dom0.ovs.trial_bridge import TRIAL_BRIDGE
from xsisolate.policy.address import eui64_link_local, format_prefix
from xsisolate.policy.model import Identity
from xsisolate.vif_id import VifId

# Xen gives domains no number from here on (DOMID_FIRST_RESERVED): no VIF ever has such a name.
FIRST_DOMID, DOMIDS = 0x7ff0, 16
UUID = '5e1f7e57-0000-4000-8000-%012x'
NETWORK_UUID = UUID % 0
GATEWAY, UPLINK, OUTSIDE = 'gw', 'uplink', 'outside'
GATEWAY_MAC = '00:00:5e:00:01:01'
OUTSIDE_IPV4, OUTSIDE_IPV6 = '192.0.2.1', '2001:db8::1'
CONFIGURATION = '''
version: 1
networks:
  %s:
    subnets: [10.9.0.0/24, "fd00:9::/64"]
    gateways:
      - {ipv4: 10.9.0.254, ipv6: "fd00:9::1", mac: "%s"}
groups:
  svc:
    rules: [tcp/22, udp/53, tcp/8000-8003, udp/6000-6010, icmp, icmp6,
            sctp/3868, ip/50, ip/89, tftp]
  outer:
    addresses: [10.9.0.103]
  north: {reach: [south, east]}
  south: {reach: [north]}
  east: {reach: []}
''' % (TRIAL_BRIDGE, GATEWAY_MAC)


class Party(NamedTuple):
    """A machine, and the policy that its vm-data holds; None: it has none, or is outside."""

    name: str
    number: int                 # the last byte of its addresses
    mac: str
    vif: Optional[VifId] = None         # None: beyond the uplink
    policy: Optional[Mapping[str, str]] = None
    ipv4: str = ''
    ipv6: str = ''

    @property
    def place(self) -> str:
        """Where what is sent to it is seen."""
        return self.name if self.vif else UPLINK

    @property
    def link_local(self) -> str:
        """Its IPv6 link-local address."""
        return format_prefix(eui64_link_local(self.mac))

    @property
    def vm_uuid(self) -> str:
        """The uuid of its VM."""
        return UUID % (self.vif.domid if self.vif else 0)

    @property
    def identity(self) -> Identity:
        """What its seal is made for."""
        return Identity(self.vm_uuid, str(self.vif.devid if self.vif else 0), self.mac)

    @property
    def vm_data(self) -> Mapping[str, str]:
        """The keys of its policy, its addresses among them."""
        return dict(self.policy, ipv4=self.ipv4, ipv6=self.ipv6) if self.policy is not None else {}

    def address(self, version: int) -> str:
        """Return its IPv4 or IPv6 address."""
        return self.ipv4 if version == 4 else self.ipv6


def _vm(at: int, name: str, number: int, policy: Optional[Mapping[str, str]]) -> Party:
    return Party(name, number, '02:00:00:00:00:%02x' % number,
                 VifId(FIRST_DOMID + at % DOMIDS, at // DOMIDS), policy,
                 '10.9.0.%d' % number, 'fd00:9::%x' % number)


def _beyond(name: str, number: int) -> Party:
    return Party(name, number, '02:00:00:00:aa:%02x' % number, None, None,
                 '10.9.0.%d' % number, 'fd00:9::%x' % number)


POLICIES: Sequence[Tuple[str, int, Optional[Mapping[str, str]]]] = (
    ('red1', 11, {'groups': 'red', 'allow': 'external'}),
    ('red2', 12, {'groups': 'red'}),
    ('red3', 13, {'groups': 'red'}),            # never speaks
    ('blue1', 21, {'groups': 'blue', 'allow': '10.9.0.31, fd00:9::1f'}),
    ('blue2', 22, {'groups': 'blue', 'allow': 'external'}),
    ('un', 31, None),
    ('evil', 32, None),
    ('locked', 41, {'mode': 'locked'}),
    ('locked2', 42, {'mode': 'locked'}),
    ('svc1', 51, {'groups': 'svc'}),
    ('svc2', 52, {'groups': 'svc'}),
    ('far', 61, {'mode': 'isolated', 'allow': '192.0.2.1 2001:db8::1 tcp/80@169.254.169.254'}),
    ('web', 62, {'mode': 'isolated', 'allow': 'tcp/443@external udp/53@external'}),
    ('wide', 63, {'mode': 'isolated', 'allow': '10.9.0.32/28 fd00:9::20/124 tcp/80@10.9.0.96/28 '
                  'icmp/8@10.9.0.96/28 icmp6/128@fd00:9::60/124'}),
    ('nobody', 64, {'mode': 'isolated', 'allow': ''}),
    ('outer', 65, {'groups': 'outer'}),
    ('north', 66, {'groups': 'north'}),
    ('south', 67, {'groups': 'south'}),
    ('east', 68, {'groups': 'east'}),
    # begins outward, but for SSH and pings; asks `un`, and `evil` asks it
    ('ward', 60, {'mode': 'isolated', 'allow': 'out:external in:tcp/22@external '
                  'in:icmp/8@external out:10.9.0.31 out:fd00:9::1f in:10.9.0.32 in:fd00:9::20'}),
    ('quar', 71, {'mode': 'bogus'}),
    ('off', 72, {'mode': 'disabled'}))
VMS = tuple(_vm(at, *row) for at, row in enumerate(POLICIES))
LAN = (_beyond('lan', 100), _beyond('redfar', 101), _beyond('bluefar', 102),
       _beyond('outfar', 103))
GATEWAY_PARTY = Party(GATEWAY, 254, GATEWAY_MAC, ipv4='10.9.0.254', ipv6='fd00:9::1')
# A machine on the internet: its frames have the gateway's MAC address.
OUTSIDE_PARTY = Party(OUTSIDE, 0, GATEWAY_MAC, ipv4=OUTSIDE_IPV4, ipv6=OUTSIDE_IPV6)
BEYOND = (GATEWAY_PARTY, OUTSIDE_PARTY) + LAN
REMOTE = {'red': 'redfar', 'blue': 'bluefar'}       # members of groups on another host
SILENT = ('red3', 'quar', 'off')        # they say nothing of themselves
UNMANAGED_PAIR, MANAGED_PAIR = ('un', 'evil'), ('red1', 'red2')
# Enough for every kind of policy; the rest is for the corpus.
FEW = ('red1', 'red2', 'blue1', 'blue2', 'un', 'evil', 'locked', 'svc1', 'svc2', 'web', 'quar')
FEW_BEYOND = (GATEWAY, OUTSIDE, 'redfar')
EVERYBODY: Mapping[str, Party] = {party.name: party for party in VMS + BEYOND}


def vms(full: bool) -> Tuple[Party, ...]:
    """Return the VMs of a run."""
    return tuple(party for party in VMS if full or party.name in FEW)


def beyond(full: bool) -> Tuple[Party, ...]:
    """Return who is tried beyond the uplink."""
    return tuple(party for party in BEYOND if full or party.name in FEW_BEYOND)
