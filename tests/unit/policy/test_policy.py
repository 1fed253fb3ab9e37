"""XAPI's locking, the VM's policy and the network's default: who wins."""
import pytest

from xsisolate.errors import PolicyError, UnprovenPolicy
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.model import (LEASED4, LEASED6, SLAAC, Config, EffectivePolicy, Gateway,
                                    Group, Holder, Identity, Locking, Mode, Network, Peer,
                                    VifPolicy)
from xsisolate.policy.resolve import (find_network, is_fail_closed, is_within, quarantine,
                                      resolve_policy)
from xsisolate.policy.seal import make_seal

VM = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77'
OTHER_VM = '11111111-8a4f-2c61-1c5b-6f2f5a3f8c77'
MAC = '00:16:3e:01:02:03'
LINK_LOCAL = 'fe80::216:3eff:fe01:203'
VIF = Identity(VM, '0', MAC)

UNLOCKED, LOCKED, ISOLATED, DISABLED = (
    Mode.UNLOCKED, Mode.LOCKED, Mode.ISOLATED, Mode.DISABLED)
TRUSTING = Config(accept_unsealed=True)
RED = frozenset(['red'])
RED_ONLY = VifPolicy(groups=RED)
NO_LOCKING, NO_NETWORK = Locking(), Network()


def prefixes(*texts):
    return frozenset(map(parse_prefix, texts))


def resolve(vmdata, locking=NO_LOCKING, config=TRUSTING, network=NO_NETWORK, seal=None):
    return resolve_policy(VIF, seal, locking, vmdata, config, network)


def refusal(*args, **kwargs):
    with pytest.raises(PolicyError) as refused:
        resolve(*args, **kwargs)
    text = str(refused.value)
    assert text.isprintable() and text.encode('ascii') and len(text) < 500
    return text


@pytest.mark.parametrize('floor, default, mode', [
    pytest.param(UNLOCKED, UNLOCKED, UNLOCKED, id='as without us'),
    pytest.param(LOCKED, UNLOCKED, LOCKED, id='XAPI locks'),
    pytest.param(DISABLED, ISOLATED, DISABLED, id='XAPI disables'),
    pytest.param(UNLOCKED, LOCKED, LOCKED, id='the network locks'),
    pytest.param(LOCKED, ISOLATED, ISOLATED, id='the network isolates'),
    pytest.param(UNLOCKED, DISABLED, DISABLED, id='the network disables'),
])
@pytest.mark.parametrize('absent', [None, VifPolicy()])
@pytest.mark.parametrize('config', [Config(), TRUSTING])
def test_mode_without_policy(floor, default, mode, absent, config):
    network = Network(default=default)
    assert resolve(absent, Locking(floor), config, network) == EffectivePolicy(mode)


@pytest.mark.parametrize('written, mode', [
    pytest.param(VifPolicy(mode=UNLOCKED), UNLOCKED, id='unlocked'),
    pytest.param(VifPolicy(mode=LOCKED, groups=RED), LOCKED, id='mode beats groups'),
    pytest.param(VifPolicy(mode=DISABLED), DISABLED, id='disabled'),
    pytest.param(VifPolicy(groups=RED), ISOLATED, id='groups'),
    pytest.param(VifPolicy(groups=frozenset()), ISOLATED, id='no groups'),
    pytest.param(VifPolicy(allow=frozenset()), ISOLATED, id='empty allow'),
    pytest.param(VifPolicy(ipv4=prefixes('10.0.0.7')), LOCKED, id='addresses alone'),
    pytest.param(VifPolicy(ipv6=frozenset()), LOCKED, id='no addresses alone'),
    pytest.param(VifPolicy(groups=RED, ipv4=prefixes('10.0.0.7')), ISOLATED,
                 id='groups and addresses'),
])
def test_mode_of_a_policy(written, mode):
    assert resolve(written).mode is mode


@pytest.mark.parametrize('floor', [UNLOCKED, LOCKED, DISABLED])
@pytest.mark.parametrize('written', [UNLOCKED, LOCKED, ISOLATED, DISABLED])
def test_the_stricter_mode_wins(floor, written):
    assert resolve(VifPolicy(mode=written), Locking(floor)).mode is max(floor, written)


def test_the_network_default_is_for_vifs_without_policy():
    policy = resolve(VifPolicy(mode=UNLOCKED), network=Network(default=DISABLED))
    assert policy.mode is UNLOCKED


XAPI4, XAPI6 = prefixes('10.0.0.0/24'), prefixes('fd00::/64')


@pytest.mark.parametrize('written, locking, own', [
    pytest.param(VifPolicy(), Locking(LOCKED, XAPI4, XAPI6),
                 XAPI4 | XAPI6 | prefixes(LINK_LOCAL), id="XAPI's without policy"),
    pytest.param(VifPolicy(groups=RED), Locking(LOCKED, XAPI4, XAPI6),
                 XAPI4 | XAPI6 | prefixes(LINK_LOCAL), id="XAPI's without addresses"),
    pytest.param(VifPolicy(ipv4=prefixes('10.0.0.7')), Locking(LOCKED, XAPI4, XAPI6),
                 prefixes('10.0.0.7', LINK_LOCAL) | XAPI6, id='one family narrowed'),
    pytest.param(VifPolicy(ipv4=frozenset()), Locking(LOCKED, XAPI4), frozenset(),
                 id='an empty list is no address'),
    pytest.param(VifPolicy(ipv6=frozenset()), Locking(LOCKED, XAPI4, XAPI6), XAPI4,
                 id='no IPv6, no link-local'),
    pytest.param(VifPolicy(ipv6=prefixes(LINK_LOCAL)), Locking(LOCKED, XAPI4, XAPI6),
                 XAPI4 | prefixes(LINK_LOCAL), id='link-local alone, inside the fence'),
    pytest.param(VifPolicy(ipv4=prefixes('10.9.9.9')), Locking(), prefixes('10.9.9.9'),
                 id='no fence'),
    pytest.param(VifPolicy(ipv6=prefixes('fd00::7')), Locking(),
                 prefixes('fd00::7', LINK_LOCAL), id='link-local is own'),
    pytest.param(VifPolicy(mode=LOCKED), Locking(), frozenset(), id='nobody said any'),
    pytest.param(VifPolicy(shared=prefixes('10.0.0.9', 'fd00::9')), Locking(LOCKED, XAPI4, XAPI6),
                 XAPI4 | XAPI6 | prefixes('10.0.0.9', 'fd00::9', LINK_LOCAL),
                 id='shared ones are own, beside the others'),
])
def test_own_addresses(written, locking, own):
    assert resolve(written, locking).addresses == own


@pytest.mark.parametrize('written, locking, said', [
    pytest.param(VifPolicy(ipv4=prefixes('10.0.1.7')), Locking(LOCKED, XAPI4),
                 "ipv4: 10.0.1.7 is outside XAPI's ipv4_allowed (10.0.0.0/24)",
                 id='outside'),
    pytest.param(VifPolicy(ipv4=prefixes('10.0.0.0/23')), Locking(LOCKED, XAPI4),
                 'ipv4: 10.0.0.0/23 is outside', id='wider'),
    pytest.param(VifPolicy(ipv4=prefixes('10.0.0.7')), Locking(LOCKED), '(empty)',
                 id="XAPI's list is empty"),
    pytest.param(VifPolicy(ipv6=prefixes('fd01::7')), Locking(LOCKED, XAPI4, XAPI6),
                 'ipv6: fd01::7 is outside', id='v6 outside'),
    pytest.param(VifPolicy(shared=prefixes('10.0.1.7')), Locking(LOCKED, XAPI4, XAPI6),
                 'shared: 10.0.1.7 is outside', id='shared, outside'),
    pytest.param(VifPolicy(shared=prefixes('fd01::7')), Locking(LOCKED, XAPI4, XAPI6),
                 'shared: fd01::7 is outside', id='shared v6, outside'),
    pytest.param(VifPolicy(ipv6=prefixes(LINK_LOCAL)), Locking(LOCKED, XAPI4),
                 'ipv6: fe80::216:3eff:fe01:203 is outside',
                 id='link-local where XAPI allows no IPv6'),
    pytest.param(VifPolicy(mode=UNLOCKED, ipv4=prefixes('10.0.1.7')),
                 Locking(LOCKED, XAPI4), 'ipv4: 10.0.1.7', id='whatever the mode'),
    pytest.param(VifPolicy(ipv4=prefixes('10.0.1.7')),
                 Locking(LOCKED, prefixes(*('10.0.2.%d' % n for n in range(99)))),
                 '(10.0.2.0, 10.0.2.1, 10.0.2.2, 10.0.2.3, ...)', id='a long list'),
])
def test_address_outside_the_fence(written, locking, said):
    assert said in refusal(written, locking)


@pytest.mark.parametrize('roster, admitted', [
    pytest.param(None, True, id='no roster'),
    pytest.param(frozenset([VM, OTHER_VM]), True, id='on the roster'),
    pytest.param(frozenset([OTHER_VM]), False, id='not on the roster'),
    pytest.param(frozenset(), False, id='an empty roster'),
])
def test_rosters(roster, admitted):
    config = TRUSTING._replace(groups={'red': Group(vms=roster)})
    if admitted:
        assert resolve(VifPolicy(groups=RED), config=config).groups == RED
    else:
        text = refusal(VifPolicy(groups=RED), config=config)
        assert text.startswith('groups: red ')
        assert VM in text and 'groups.red.vms' in text


def test_roster_of_another_group():
    config = TRUSTING._replace(groups={'blue': Group(vms=frozenset())})
    assert resolve(VifPolicy(groups=RED), config=config).groups == RED


@pytest.mark.parametrize('written', [
    VifPolicy(mode=UNLOCKED), VifPolicy(mode=DISABLED), VifPolicy(groups=frozenset())])
def test_only_the_sealed_policy_counts(written):
    assert 'xsisolate seal' in refusal(written, config=Config())
    assert 'xsisolate seal' in refusal(written, config=Config(), seal=make_seal(VIF, RED_ONLY))
    good = make_seal(VIF, written)
    assert resolve(written, config=Config(), seal=good) == resolve(written)
    with pytest.raises(UnprovenPolicy):
        resolve(None, config=Config(), seal=good)
    with pytest.raises(UnprovenPolicy):
        resolve(VifPolicy(), config=Config(), seal=good)


@pytest.mark.parametrize('seal', [None, '', 'x', make_seal(VIF, RED_ONLY)])
@pytest.mark.parametrize('written', [None, RED_ONLY, VifPolicy(mode=DISABLED)])
def test_who_accepts_the_unsealed_looks_at_no_seal(written, seal):
    assert resolve(written, seal=seal) == resolve(written)


@pytest.mark.parametrize('floor, own, mode, within', [
    pytest.param(Locking(), XAPI4, UNLOCKED, True, id='no floor'),
    pytest.param(Locking(LOCKED, XAPI4), prefixes('10.0.0.7'), ISOLATED, True, id='inside'),
    pytest.param(Locking(LOCKED, XAPI4), prefixes('10.0.1.7'), ISOLATED, False, id='outside'),
    pytest.param(Locking(LOCKED, XAPI4, XAPI6), prefixes(LINK_LOCAL), LOCKED, True,
                 id='link-local'),
    pytest.param(Locking(LOCKED, XAPI4), prefixes(LINK_LOCAL), LOCKED, False,
                 id='link-local without IPv6'),
    pytest.param(Locking(LOCKED, XAPI4), frozenset(), UNLOCKED, False, id='looser'),
    pytest.param(Locking(LOCKED), frozenset(), DISABLED, True, id='stricter'),
    pytest.param(Locking(DISABLED), prefixes('10.0.0.7'), ISOLATED, False, id='disabled now'),
    pytest.param(Locking(DISABLED), frozenset(), DISABLED, True, id='disabled still'),
])
def test_is_within(floor, own, mode, within):
    assert is_within(floor, MAC, mode, own) is within


@pytest.mark.parametrize('mode', [UNLOCKED, DISABLED])
def test_modes_that_carry_nothing(mode):
    written = VifPolicy(mode, RED, frozenset([Peer(None)]), XAPI4, XAPI6)
    assert resolve(written) == EffectivePolicy(mode)


@pytest.mark.parametrize('mode', [LOCKED, ISOLATED])
def test_modes_that_carry_everything(mode):
    written = VifPolicy(mode, RED, frozenset([Peer(None)]), XAPI4, frozenset())
    assert resolve(written) == EffectivePolicy(mode, XAPI4, RED, written.allow)


GIVEN = Holder(VM, '0', frozenset(['gateway', 'router']), prefixes('10.0.0.254', 'fd00::1'))


@pytest.mark.parametrize('written, network, mode, roles, own', [
    pytest.param(VifPolicy(LOCKED, ipv4=prefixes('10.0.0.7'), roles=frozenset(['dhcp'])),
                 NO_NETWORK, LOCKED, {'dhcp'}, prefixes('10.0.0.7'), id='by policy'),
    pytest.param(VifPolicy(ipv4=prefixes('10.0.0.7'), roles=frozenset()), NO_NETWORK, LOCKED, set(),
                 prefixes('10.0.0.7'), id='none'),
    pytest.param(VifPolicy(UNLOCKED, ipv4=prefixes('10.0.0.7'), roles=frozenset(['dhcp'])),
                 NO_NETWORK, LOCKED, {'dhcp'}, prefixes('10.0.0.7'), id='unlocked no more'),
    pytest.param(VifPolicy(ISOLATED, ipv4=prefixes('10.0.0.7'), roles=frozenset(['dhcp'])),
                 Network(holders=(GIVEN,)), ISOLATED, {'dhcp', 'gateway', 'router'},
                 prefixes('10.0.0.7'), id='by both: the policy has the addresses'),
    pytest.param(None, Network(holders=(GIVEN,)), LOCKED, {'gateway', 'router'},
                 prefixes('10.0.0.254', 'fd00::1', str(LINK_LOCAL)), id='by the configuration'),
    pytest.param(None, Network(holders=(GIVEN._replace(devid='1'),)), UNLOCKED, set(), set(),
                 id='another VIF'),
    pytest.param(None, Network(holders=(GIVEN._replace(vm_uuid=VM[:-1] + '0'),)), UNLOCKED, set(),
                 set(), id='another VM'),
    pytest.param(VifPolicy(LOCKED, ipv4=prefixes('10.0.0.7')), Network(gateways=(
        Gateway(mac=MAC),)), LOCKED, {'gateway', 'router'}, prefixes('10.0.0.7'), id='by MAC'),
    pytest.param(None, Network(gateways=(Gateway(mac=MAC),)), UNLOCKED, set(), set(),
                 id='a MAC address alone is no policy')])
def test_roles(written, network, mode, roles, own):
    found = resolve(written, network=network)
    assert (found.mode, found.roles, found.addresses) == (mode, roles, own)


def test_a_role_needs_an_address():
    for written, network in ((VifPolicy(LOCKED, roles=frozenset(['dhcp'])), NO_NETWORK),
                             (None, Network(holders=(GIVEN._replace(addresses=frozenset()),)))):
        assert 'needs an address' in refusal(written, network=network)


def test_quarantine():
    assert quarantine('why') == EffectivePolicy(Mode.QUARANTINED, reason='why')


UUID = '6b9a3a0a-3d1c-9d7e-2d3c-4b5a69788796'
CLOSED, OPEN = Network(fail_closed=True), Network()


@pytest.mark.parametrize('networks, names, closed', [
    pytest.param({}, ['xenbr0'], False, id='nothing said'),
    pytest.param({'xenbr0': CLOSED}, ['xenbr0', ''], True, id='by bridge'),
    pytest.param({UUID: CLOSED}, ['xenbr0', UUID.upper()], True, id='by uuid'),
    pytest.param({'xapi1': CLOSED, 'xenbr0': OPEN}, ['xenbr0', 'xapi1'], True,
                 id='one of its networks'),
    pytest.param({'*': CLOSED}, ['xenbr0'], True, id='all others'),
    pytest.param({'*': CLOSED, 'xenbr0': OPEN}, ['xenbr0'], False, id='but this'),
    pytest.param({'xenbr1': CLOSED}, ['xenbr0'], False, id='another'),
])
def test_which_bridges_fail_closed(networks, names, closed):
    assert is_fail_closed(Config(networks=networks), names) is closed
BY_BRIDGE, BY_UUID, BY_STAR = (Network(default=mode) for mode in (LOCKED, ISOLATED,
                                                                  DISABLED))


@pytest.mark.parametrize('networks, found', [
    pytest.param({'xapi3': BY_BRIDGE, UUID: BY_UUID, '*': BY_STAR}, BY_BRIDGE,
                 id='bridge first'),
    pytest.param({UUID: BY_UUID, '*': BY_STAR}, BY_UUID, id='then uuid'),
    pytest.param({'xapi4': BY_BRIDGE, '*': BY_STAR}, BY_STAR, id='then all'),
    pytest.param({'xapi4': BY_BRIDGE}, Network(), id='else the defaults'),
])
def test_find_network(networks, found):
    assert find_network(Config(networks=networks), 'xapi3', UUID.upper()) == found


# --- addresses that the policy does not list -------------------------------------------------

SLAAC_POLICY = VifPolicy(groups=RED, ipv6=frozenset(), sources=frozenset([SLAAC]))
BOTH = VifPolicy(groups=RED, ipv4=frozenset(), ipv6=frozenset(),
                 sources=frozenset([LEASED4, LEASED6]))
SIX = Network(subnets=prefixes('10.0.0.0/24', 'fd00::/64', 'fd00:0:0:1::/64', 'fd00:2::/56'))


def test_slaac_makes_an_address_in_each_64():
    policy = resolve(SLAAC_POLICY, network=SIX)
    assert policy.addresses == prefixes(LINK_LOCAL, 'fd00::216:3eff:fe01:203',
                                        'fd00:0:0:1:216:3eff:fe01:203')
    assert policy.sources == {SLAAC} and not policy.leased


@pytest.mark.parametrize('network', [NO_NETWORK, Network(subnets=prefixes(
    '10.0.0.0/24', 'fd00::/56'))])
def test_slaac_needs_a_64(network):
    assert 'slaac needs an IPv6 /64' in refusal(SLAAC_POLICY, network=network)


def test_slaac_stays_inside_the_fence():
    fence = Locking(LOCKED, ipv6=prefixes('fd00::/64'))
    assert 'fd00::1:216:3eff:fe01:203' not in str(resolve(
        SLAAC_POLICY, fence, network=Network(subnets=prefixes('fd00::/64'))))
    assert "outside XAPI's ipv6_allowed" in refusal(SLAAC_POLICY, fence, network=SIX)


@pytest.mark.parametrize('written, leased, own', [
    pytest.param(BOTH, (), (LINK_LOCAL,), id='nothing leased yet: it can ask by DHCPv6'),
    pytest.param(BOTH, ('10.0.0.9', 'fd00::9'), ('10.0.0.9', 'fd00::9', LINK_LOCAL), id='both'),
    pytest.param(BOTH._replace(sources=frozenset([LEASED6])), ('10.0.0.9', 'fd00::9'),
                 ('fd00::9', LINK_LOCAL), id='one family only'),
    pytest.param(BOTH._replace(ipv4=prefixes('10.0.0.7')), ('10.0.0.9',),
                 ('10.0.0.7', '10.0.0.9', LINK_LOCAL), id='beside a fixed one'),
    pytest.param(BOTH, ('10.0.1.9', 'fd00:3::9'), (LINK_LOCAL,), id='outside the subnets'),
    pytest.param(BOTH, ('10.0.0.254', '10.0.0.2'), (LINK_LOCAL,), id='a gateway and a server'),
    pytest.param(BOTH, ('224.0.0.1', 'fe80::1', '0.0.0.0'), (LINK_LOCAL,), id='nobody can own it'),
    pytest.param(RED_ONLY, ('10.0.0.9',), (), id='the policy has no word for it'),
])
def test_leased_addresses(written, leased, own):
    network = SIX._replace(gateways=(Gateway(ipv4=parse_prefix('10.0.0.254')),),
                           dhcp_servers=prefixes('10.0.0.2'))
    policy = resolve_policy(VIF, None, NO_LOCKING, written, TRUSTING, network, prefixes(*leased))
    assert policy.addresses == prefixes(*own)
    assert policy.leased == {address for address in prefixes(*leased) & policy.addresses}


def test_leases_stay_inside_the_fence():
    fence = Locking(LOCKED, XAPI4, XAPI6)
    policy = resolve_policy(VIF, None, fence, BOTH, TRUSTING, NO_NETWORK,
                            prefixes('10.0.0.9', '10.0.1.9', 'fd00::9', 'fd01::9'))
    assert policy.leased == prefixes('10.0.0.9', 'fd00::9')


def test_a_link_local_address_is_never_leased():
    """Nor where the network names no subnets: it could be another VIF's."""
    policy = resolve_policy(VIF, None, NO_LOCKING, BOTH, TRUSTING, NO_NETWORK,
                            prefixes('fe80::1', 'fd00::9'))
    assert policy.leased == prefixes('fd00::9')
