"""Whether a policy admits, in what way, and how it says so; then who reaches whom on a network."""
from typing import Dict, FrozenSet, List, Optional, Sequence, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xsisolate.diagnostics.ends import End, Place, why_inside
from xsisolate.diagnostics.passage import EGRESS, INGRESS, RECEIVES, SENDS, Step, judge
from xsisolate.diagnostics.trace import format_packet, parse_ports, parse_trace
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.vif import Attached, Vif, VifPort
from xsisolate.policy.address import NEVER_EXTERNAL, format_prefix, parse_prefix
from xsisolate.policy.admission import EVERYTHING, How, Party, Talk, admit, admitted_services, serve
from xsisolate.policy.model import (ANYTHING, EffectivePolicy, Gateway, Group, Locking, Mode,
                                    Network, Prefix, RemoteMember, Service)
from xsisolate.policy.reachability import (ALL, Node, between, common, find_alike, find_links,
                                           find_would, outside, simplified, turned)
from xsisolate.policy.service import parse_rule, parse_service
from xsisolate.policy.vmdata_parser import parse_peer
from xsisolate.vif_id import VifId

GROUPS = {'web': Group(rules=frozenset(map(parse_service, ('tcp/443', 'udp/53', 'icmp')))),
          'north': Group(reach=frozenset(('south', 'east'))),
          'south': Group(reach=frozenset(('north',))),
          'out': Group(addresses=frozenset((parse_prefix('10.1.0.0/16'),))),
          'mute': Group(rules=frozenset()),
          # members of `client` begin towards those of `server`, and not the other way
          'client': Group(rules=frozenset([parse_rule('in:tcp/443')]), reach=frozenset(['server'])),
          'server': Group(rules=frozenset([parse_rule('out:tcp/443')]),
                          reach=frozenset(['client']))}
ASK, ANSWER = Talk('tcp', 40000, 443), Talk('tcp', 443, 40000, True)
NET, UNKNOWN = NETWORK, Network()


def policy(groups: str = '', allow: str = '', mode: Mode = Mode.ISOLATED,
           addresses: str = '') -> EffectivePolicy:
    """Return an effective policy."""
    return EffectivePolicy(mode, frozenset(map(parse_prefix, addresses.split())),
                           frozenset(groups.split()), frozenset(map(parse_peer, allow.split())))


def party(address: str = '10.0.0.2', groups: str = '', external: bool = False) -> Party:
    """Return another end."""
    return Party('other', parse_prefix(address), frozenset(groups.split()), external,
                 '' if external else 'it is inside')


@pytest.mark.parametrize('service, talk, how', [
    ('tcp', ASK, How.PLAIN), ('tcp/443', ASK, How.REQUEST), ('tcp/400-500', ASK, How.REQUEST),
    ('tcp/444', ASK, How.NOT), ('tcp/40000', ASK, How.REPLY), ('udp/443', ASK, How.NOT),
    ('tcp/443', ANSWER, How.REPLY), ('tcp/443', ANSWER._replace(answer=False), How.REPLY),
    ('out:tcp/443', ASK, How.REQUEST), ('in:tcp/443', ASK, How.NOT),
    ('out:tcp/443', ASK._replace(leaves=False), How.NOT), ('out:tcp', ASK, How.REQUEST),
    ('in:tcp/443', ASK._replace(leaves=False), How.REQUEST), ('in:tcp', ASK, How.REPLY),
    ('out:tcp/443', ANSWER._replace(leaves=False), How.REPLY), ('out:tcp/443', ANSWER, How.NOT),
    ('out:everything', ASK, How.REQUEST), ('in:everything', ASK, How.REPLY),
    ('out:everything', Talk('esp'), How.REQUEST), ('in:everything', Talk('icmp'), How.REPLY),
    ('out:icmp/8', Talk('icmp'), How.REQUEST), ('in:icmp/8', Talk('icmp'), How.NOT),
    ('in:icmp/8', Talk('icmp', answer=True), How.REPLY),
    ('out:icmp/8', Talk('icmp', answer=True, leaves=False), How.REPLY),
    ('out:tftp', Talk('udp', 40000, 69, related=True), How.REQUEST),
    ('in:tftp', Talk('udp', 40000, 69, related=True), How.REPLY),
    ('in:tftp', Talk('udp', 50000, 40000, True, True), How.REPLY),
    ('udp/53', Talk('udp', 40000, 53), How.REQUEST), ('udp/53', Talk('udp', 53, 40000), How.REPLY),
    ('udp', Talk('udp', 1, 2), How.PLAIN), ('udp/1-65535', Talk('udp', 1, 2), How.REQUEST),
    ('icmp', Talk('icmp'), How.PLAIN), ('icmp', Talk('icmp6'), How.NOT),
    ('icmp6', Talk('icmp6'), How.PLAIN), ('icmp/8', Talk('icmp'), How.PLAIN),
    ('icmp/8', Talk('icmp', answer=True), How.PLAIN), ('icmp/13', Talk('icmp'), How.NOT),
    ('icmp/8', Talk('icmp', 0, 13), How.NOT), ('icmp/8', Talk('icmp', 13, 0, True), How.NOT),
    ('icmp6/128', Talk('icmp6', answer=True), How.PLAIN), ('icmp/8', Talk('icmp6'), How.NOT),
    ('esp', Talk('esp'), How.PLAIN), ('ip/50', Talk('esp'), How.PLAIN),
    ('ip/89', Talk('esp'), How.NOT), ('sctp/3868', Talk('sctp', 40000, 3868), How.REQUEST),
    ('sctp/3868', Talk('sctp', 3868, 40000, True), How.REPLY),
    ('tftp', Talk('udp', 40000, 69, related=True), How.REQUEST),
    ('tftp', Talk('udp', 50000, 40000, True, True), How.REPLY),
    ('udp/69', Talk('udp', 50000, 40000, True, True), How.NOT),
    ('udp/69', Talk('udp', 69, 40000, True, True), How.NOT)])
def test_services(service: str, talk: Talk, how: How) -> None:
    assert serve(parse_rule(service), talk) is how


@pytest.mark.parametrize('mine, other, how, because', [
    (policy('red'), party(groups='red'), How.PLAIN, 'both are in group red'),
    (policy('red'), party(groups='blue'), How.NOT, 'other is in group blue, not in group red, and '
     'neither reaches the other; no allow entry covers 10.0.0.2'),
    (policy('red blue'), party(), How.NOT, 'other is not in groups blue, red; no allow entry '
     'covers 10.0.0.2'),
    (policy(), party(), How.NOT, 'it is in no group; no allow entry covers 10.0.0.2'),
    (policy('web'), party(groups='web'), How.REQUEST, 'both are in group web, and its rule tcp/443 '
     'covers it'),
    (policy('mute'), party(groups='mute'), How.NOT, 'both are in group mute, but its rules (none) '
     'say nothing of tcp/443; no allow entry covers 10.0.0.2'),
    (policy('north'), party(groups='south'), How.PLAIN, 'other is in group south, which group '
     'north reaches and which reaches it'),
    (policy('north'), party(groups='east'), How.NOT, 'other is in group east, not in group north, '
     'and neither reaches the other; no allow entry covers 10.0.0.2'),
    (policy('out'), party('10.1.2.3'), How.PLAIN, '10.1.2.3 is one of the addresses of group out'),
    (policy(allow='tcp/443@10.0.0.0/24'), party(), How.REQUEST, 'allow entry tcp/443@10.0.0.0/24 '
     'covers it'),
    (policy(allow='in:tcp/443@10.0.0.0/24'), party(), How.NOT, 'allow entry in:tcp/443@10.0.0.0/24 '
     'says nothing of tcp/443 that it sends; it is in no group'),
    (policy(allow='in:10.0.0.0/24'), party(), How.REPLY, 'allow entry in:10.0.0.0/24 covers '
     'answers from port 40000'),
    (policy(allow='tcp/80@10.0.0.0/24'), party(), How.NOT, 'allow entry tcp/80@10.0.0.0/24 says '
     'nothing of tcp/443; it is in no group'),
    (policy(allow='external'), party(external=True), How.PLAIN, 'allow entry external covers it'),
    (policy(allow='external'), party(), How.NOT, 'it is in no group; allow entry external does not '
     'mean it: it is inside; no allow entry covers 10.0.0.2'),
    (policy('red'), party(groups='red')._replace(refusal='no'), How.NOT, 'no')])
def test_answers(mine: EffectivePolicy, other: Party, how: How, because: str) -> None:
    assert admit(mine, GROUPS, other, ASK) == (how, because)


def test_the_best_answer_counts() -> None:
    """Whoever may say everything is not found by the narrowest of his services."""
    mine = policy('web', 'udp/53@external 10.0.0.2')
    other = party(groups='web', external=True)
    assert admit(mine, GROUPS, other, Talk('udp', 40000, 53)).how is How.PLAIN
    assert admitted_services(mine, GROUPS, other) == frozenset((EVERYTHING,))
    assert admitted_services(policy('web'), GROUPS, other) == GROUPS['web'].rules


# --- one network -------------------------------------------------------------------------------


def make_vif(number: int, what: EffectivePolicy) -> Vif:
    """Return a VIF with an address."""
    own = frozenset((parse_prefix('10.0.0.%d' % number), parse_prefix('fd00::%x' % number)))
    managed = what.mode in (Mode.LOCKED, Mode.ISOLATED)
    return Vif(VifId(number, 0), 'vm%d' % number, '02:00:00:00:00:%02x' % number,
               (Attached(NET, 'xapi1', 'u'),), False,
               what._replace(addresses=own) if managed else what,
               (VifPort('vif%d.0' % number, number),))


def make_place(vifs: Sequence[Vif], facts: Network = UNKNOWN,
               members: Optional[Dict[str, Tuple[RemoteMember, ...]]] = None) -> Place:
    """Return a network with these VIFs."""
    return Place('xapi1', 'xapi1', 'u', NET, facts, GROUPS,
                 tuple(('vif%d.0' % vif.id.domid, vif) for vif in vifs), members or {})


def end(vif: Vif, address: str = '') -> End:
    """Return a VIF as an end."""
    return End(vif.id.vif, parse_prefix(address or '10.0.0.%d' % vif.id.domid), vif.mac,
               vif)


GATEWAY = Gateway(parse_prefix('10.0.0.254'), None, '02:00:00:00:00:fe')
SUBNET = frozenset((parse_prefix('10.0.0.0/24'),))
OUTSIDE = End('192.0.2.1', parse_prefix('192.0.2.1'), GATEWAY.mac or '', gateway=True)
STRANGER = End('10.0.0.77', parse_prefix('10.0.0.77'), '02:00:00:00:ff:fe')


@pytest.mark.parametrize('facts, other, reaches', [
    (Network(), OUTSIDE._replace(gateway=False), True), (Network(), STRANGER, True),
    (Network(subnets=SUBNET), STRANGER, False),
    (Network(subnets=SUBNET), OUTSIDE._replace(gateway=False), True),
    (Network(gateways=(GATEWAY,)), STRANGER, False), (Network(gateways=(GATEWAY,)), OUTSIDE, True),
    (Network(gateways=(GATEWAY,), subnets=SUBNET), OUTSIDE._replace(
        address=parse_prefix('10.0.0.78')), False),
    (Network(gateways=(GATEWAY,)), OUTSIDE._replace(address=parse_prefix('169.254.1.1')), False),
    (Network(gateways=(GATEWAY._replace(mac=None),)), STRANGER, True),
    (Network(gateways=(GATEWAY,)), End('gw', parse_prefix('10.0.0.254'), GATEWAY.mac or '',
                                       gateway=True), True),
    (Network(gateways=(GATEWAY,)), End('fake', parse_prefix('10.0.0.254'), '02:00:00:00:00:99'),
     False)])
def test_external(facts: Network, other: End, reaches: bool) -> None:
    vif = make_vif(1, policy(allow='external'))
    for steps in (judge(make_place([vif], facts), end(vif), other, Talk('icmp')),
                  judge(make_place([vif], facts), other, end(vif), Talk('icmp'))):
        assert all(step.admits for step in steps) is reaches, steps


@pytest.mark.parametrize('never, name', NEVER_EXTERNAL)
def test_what_is_never_external_is_named(never: Prefix, name: str) -> None:
    """By `explain`, and by the page that explains the word; an entry of its own admits it."""
    inside = Prefix(never.version, never.value | 1, 32 if never.version == 4 else 128)
    other = OUTSIDE._replace(name='it', address=inside)
    place = make_place([make_vif(1, policy())], Network(gateways=(GATEWAY,)))
    assert '%s (%s)' % (format_prefix(never), name) in why_inside(place, other)
    with open('docs/admin-guide.md', encoding='utf-8') as file:
        assert '| `%s` | %s |\n' % (format_prefix(never), name) in file.read()


def test_the_metadata_address_goes_by_its_own_entry() -> None:
    metadata = OUTSIDE._replace(name='metadata', address=parse_prefix('169.254.169.254'))
    place = make_place([], Network(gateways=(GATEWAY,), subnets=SUBNET))
    for allow, reaches in (('external', False), ('tcp/80@169.254.169.254', True),
                           ('tcp/443@169.254.169.254', False)):
        vif = make_vif(1, policy(allow=allow))
        steps = judge(place, end(vif), metadata, Talk('tcp', 40000, 80))
        assert all(step.admits for step in steps) is reaches, steps


def test_who_may_claim_an_address() -> None:
    """Addresses of VIFs, gateways and members elsewhere are their own, whoever admits them."""
    red, thief = make_vif(1, policy('red', '0.0.0.0/0')), make_vif(2, EffectivePolicy(
        Mode.UNLOCKED))
    other = make_vif(3, policy('red'))
    far = RemoteMember('u', '02:00:00:00:00:44', frozenset((parse_prefix('10.0.0.44'),)))
    place = make_place([red, thief, other], Network(gateways=(GATEWAY,)), {'red': (far,)})
    for address, fine in (('10.0.0.2', True), ('10.0.0.3', False), ('10.0.0.254', False),
                          ('10.0.0.44', False), ('10.0.0.1', False)):
        steps = judge(place, end(thief, address), end(red), Talk('icmp'))
        assert all(step.admits for step in steps) is fine, (address, steps)
    there = End('far', parse_prefix('10.0.0.44'), far.mac)
    assert judge(place, there, end(red), Talk('icmp'))[-1].because == 'both are in group red'
    assert not judge(place, there._replace(mac='02:00:00:00:00:45'), end(red),
                     Talk('icmp'))[-1].admits


def test_a_stolen_mac_address() -> None:
    red, thief = make_vif(1, policy('red')), make_vif(2, EffectivePolicy(Mode.UNLOCKED))
    thief = thief._replace(mac=red.mac)
    place = make_place([red, thief])
    step, = judge(place, end(thief), STRANGER, Talk('icmp'))
    assert not step.admits and step.because == 'MAC address 02:00:00:00:00:01 is that of vif1.0'


def test_a_udp_answer_needs_a_request() -> None:
    one, other = make_vif(1, policy('web')), make_vif(2, policy('web'))
    place, answer = make_place([one, other]), Talk('udp', 53, 40000, True)
    assert all(step.admits for step in judge(place, end(one), end(other), answer, asked=True))
    steps = judge(place, end(one), end(other), answer)
    assert steps[-1].because.endswith('answers from port 53, but none was asked for')


# --- permissive VIFs ---------------------------------------------------------------------------


OPEN, FENCE = Locking(), Locking(Mode.LOCKED, frozenset([parse_prefix('10.0.0.1')]))


def judged(*steps: Step) -> List[Tuple[str, bool, bool]]:
    """Return of each step the side, whether the packet goes on, and whether it would not."""
    return [(step.side, step.admits, step.would_refuse) for step in steps]


def permissive(number: int, what: EffectivePolicy, locking: Locking = OPEN) -> Vif:
    """Return a VIF whose policy is judged only."""
    return make_vif(number, what._replace(permissive=True))._replace(locking=locking)


def test_a_permissive_policy_is_asked_and_the_packet_goes_on() -> None:
    red, blue = permissive(1, policy('red')), permissive(2, policy('blue'))
    place = make_place([red, blue])
    assert judged(*judge(place, end(red), end(blue), ASK)) == [
        (SENDS, True, False), (RECEIVES, True, False), (EGRESS, True, True), (INGRESS, True, True)]
    assert judged(*judge(place, end(red), end(red), ASK))[2:] == [
        (EGRESS, True, False), (INGRESS, True, False)]


def test_an_enforced_policy_refuses_behind_a_permissive_one() -> None:
    """Its own address and its groups are known: an enforced member admits it by them."""
    red, blue, mate = permissive(1, policy('red')), make_vif(2, policy('blue')), make_vif(
        3, policy('red'))
    place = make_place([red, blue, mate])
    assert judged(*judge(place, end(red), end(blue), ASK))[2:] == [
        (EGRESS, True, True), (INGRESS, False, False)]
    assert all(step.admits for step in judge(place, end(red), end(mate), ASK))
    assert not judge(place, end(red, '10.0.0.7'), end(mate), ASK)[-1].admits


@pytest.mark.parametrize('locking, found', [
    (OPEN, [(SENDS, True, True)]), (FENCE, [(SENDS, False, False)])])
def test_a_forged_address_passes_as_xapi_says(locking: Locking,
                                              found: List[Tuple[str, bool, bool]]) -> None:
    red = permissive(1, policy('red', '0.0.0.0/0'), locking)
    assert judged(*judge(make_place([red]), end(red, '10.0.0.7'), STRANGER, ASK))[:1] == found


def test_a_dhcp_answer_passes() -> None:
    red, other = permissive(1, policy('red')), make_vif(2, EffectivePolicy(Mode.UNLOCKED))
    steps = judge(make_place([red, other]), end(other), end(red), Talk('udp', 67, 68))
    assert judged(*steps)[-1] == (INGRESS, True, True)


def test_a_strangers_use_of_its_mac_address_passes() -> None:
    red, thief = permissive(1, policy('red')), make_vif(2, EffectivePolicy(Mode.UNLOCKED))
    thief = thief._replace(mac=red.mac)
    assert judge(make_place([red, thief]), end(thief), STRANGER, ASK)[0].admits


def test_what_would_be_quarantined_passes_and_says_so() -> None:
    vif = make_vif(1, EffectivePolicy(Mode.UNLOCKED, would_be='quarantined: no seal'))
    place, other = make_place([vif]), make_vif(2, EffectivePolicy(Mode.UNLOCKED))
    for steps in (judge(place, end(vif), end(other), ASK), judge(place, end(other), end(vif), ASK)):
        assert all(step.admits for step in steps)
        assert [step.because for step in steps if step.would_refuse] == [
            'would be quarantined: no seal']


# --- everybody at once -------------------------------------------------------------------------


POLICIES = st.builds(
    policy, st.sampled_from(['', 'red', 'blue', 'red blue', 'web', 'client', 'server', 'north',
                             'south', 'out']),
    st.sampled_from(['', 'external', '10.0.0.0/29', 'tcp/443@10.0.0.1 udp/53@fd00::/64',
                     '10.0.0.2 icmp@10.0.0.3', 'out:10.0.0.0/29 in:tcp/443@10.0.0.0/30',
                     'out:tcp/443@10.0.0.0/30 in:icmp/8@10.0.0.0/29 in:fd00::/64']),
    st.sampled_from([Mode.ISOLATED] * 4 + [Mode.LOCKED, Mode.UNLOCKED, Mode.DISABLED]))
NODES = st.lists(st.one_of(POLICIES, POLICIES.map(lambda one: one._replace(
    permissive=one.mode in (Mode.LOCKED, Mode.ISOLATED)))), min_size=1, max_size=7)
TALKS = {4: (Talk('icmp'), Talk('tcp', 40000, 443), Talk('tcp', 40000, 80),
             Talk('udp', 40000, 53)), 6: (Talk('icmp6'), Talk('tcp', 40000, 443),
                                          Talk('udp', 40000, 53))}


def make_node(vif: Vif) -> Node:
    """Return a VIF as a node, on a network that says nothing of itself."""
    both = parse_prefix('10.0.0.%d' % vif.id.domid), parse_prefix('fd00::%x' % vif.id.domid)
    unmanaged = vif.policy.mode is Mode.UNLOCKED
    return Node('n', vif.policy, both, frozenset(both if unmanaged else ()))


def passing(place: Place, one: Vif, other: Vif, version: int) -> FrozenSet[Talk]:
    """Return which first packets pass over an IP version."""
    address = '10.0.0.%d' if version == 4 else 'fd00::%x'
    return frozenset(talk for talk in TALKS[version] if all(step.admits for step in judge(
        place, end(one, address % one.id.domid), end(other, address % other.id.domid), talk)))


@settings(max_examples=60, deadline=None)
@given(NODES)
def test_the_matrix_is_what_passages_are(policies: List[EffectivePolicy]) -> None:
    """It has a service if its first packet passes over some IP version, and no others."""
    vifs = [make_vif(number, what) for number, what in enumerate(policies, 1)]
    place = make_place(vifs)
    links = find_links(list(map(make_node, vifs)), GROUPS)
    for at, one in enumerate(vifs):
        for other_at, other in enumerate(vifs):
            if at == other_at:
                continue
            assert links[at].get(other_at) == turned(links[other_at].get(at, frozenset())) or (
                not links[at].get(other_at) and not links[other_at].get(at))
            services = links[at].get(other_at, frozenset())
            four, six = (passing(place, one, other, version) for version in (4, 6))
            if EVERYTHING in services:
                assert four == frozenset(TALKS[4]) or six == frozenset(TALKS[6])
            else:
                served = {talk for talk in TALKS[4] + TALKS[6] if any(
                    serve(service, talk) > How.REPLY for service in services)}
                told = (one, other, services)
                if ANYTHING in [service.protocol for service in services]:  # by one at least
                    assert four == served & set(TALKS[4]) or six == served & set(TALKS[6]), told
                    assert four | six <= served, told
                else:
                    assert four | six == served, told


@settings(max_examples=60, deadline=None)
@given(NODES)
def test_sets_of_the_alike(policies: List[EffectivePolicy]) -> None:
    """Every VIF is in one set, and the sets say of each pair what the links say."""
    nodes = [Node('n', what, (parse_prefix('10.0.0.%d' % (at + 1)),))
             for at, what in enumerate(policies)]
    links = find_links(nodes, GROUPS)
    would = find_would(nodes, links, GROUPS)
    sets = find_alike(nodes, links, would)
    assert sorted(at for alike in sets for at in alike.members) == list(range(len(nodes)))
    home = {at: place for place, alike in enumerate(sets) for at in alike.members}
    for at in range(len(nodes)):
        for other in range(len(nodes)):
            assert dict(sets[home[at]].reaches).get(home[other]) == links[at].get(other)
            assert dict(sets[home[at]].would).get(home[other]) == would[at].get(other)


def served(services: FrozenSet[Service]) -> FrozenSet[Talk]:
    """Return which first packets services admit."""
    return frozenset(talk for talk in TALKS[4] + TALKS[6] if any(
        serve(service, talk) > How.REPLY for service in services))


@settings(max_examples=60, deadline=None)
@given(NODES)
def test_what_would_pass_is_what_enforced_policies_let_pass(
        policies: List[EffectivePolicy]) -> None:
    """It is told of each pair where it is less than what passes, and of no other."""
    nodes = [make_node(make_vif(number, what)) for number, what in enumerate(policies, 1)]
    links = find_links(nodes, GROUPS)
    enforced = find_links([node.enforced() for node in nodes], GROUPS)
    would = find_would(nodes, links, GROUPS)
    for at, row in enumerate(links):
        assert would[at].keys() <= row.keys()
        for other, services in row.items():
            assert would[at].get(other, services) == enforced[at].get(other, frozenset())
            assert other not in would[at] or nodes[at].permissive or nodes[other].permissive
            assert served(enforced[at].get(other, frozenset())) <= served(services)


def test_what_would_be_quarantined_would_reach_nobody() -> None:
    address = (parse_prefix('10.0.0.1'),)
    bad = Node('b', EffectivePolicy(Mode.UNLOCKED, would_be='quarantined: why'), address)
    nodes = [bad, Node('u', EffectivePolicy(Mode.UNLOCKED), address)]
    links = find_links(nodes, GROUPS)
    assert links[0] == {0: ALL, 1: ALL}
    assert find_would(nodes, links, GROUPS) == [{0: frozenset(), 1: frozenset()}, {0: frozenset()}]
    assert len(find_alike(nodes, links, find_would(nodes, links, GROUPS))) == 2
    assert outside(bad, GROUPS) == ALL and outside(bad.enforced(), GROUPS) == frozenset()


def test_common_services_have_the_direction_of_both() -> None:
    def rules(text: str) -> FrozenSet[object]:
        return frozenset(map(parse_rule, text.split()))
    assert common(rules('out:tcp/1-100 in:udp'), rules('tcp/50-200 out:udp/53')) == rules(
        'out:tcp/50-100')
    assert common(rules('out:everything'), rules('tcp/22 in:udp/53 out:icmp')) == rules(
        'out:tcp/22 out:icmp')
    assert common(rules('out:everything'), ALL) == rules('out:everything')
    assert turned(rules('out:tcp/22 in:icmp udp')) == rules('in:tcp/22 out:icmp udp')
    assert simplified(rules('out:tcp/22 in:tcp/22 out:udp udp in:icmp')) == rules(
        'tcp/22 udp in:icmp')
    assert simplified(rules('out:everything in:everything')) == ALL
    one, other = (Node(name, policy(name), (parse_prefix(address),)) for name, address in (
        ('client', '10.0.0.1'), ('server', '10.0.0.2')))
    assert between(one, other, GROUPS) == rules('out:tcp/443')
    assert between(other, one, GROUPS) == rules('in:tcp/443')
    assert not between(one, one, GROUPS)


def test_common_services() -> None:
    def services(text: str) -> FrozenSet[object]:
        return frozenset(map(parse_service, text.split()))
    assert common(services('tcp/1-100 udp'), services('tcp/50-200 udp/53 icmp')) == services(
        'tcp/50-100 udp/53')
    assert common(ALL, services('icmp')) == services('icmp') == common(services('icmp'), ALL)
    node = Node('n', policy('web'), (parse_prefix('10.0.0.1'),))
    six = Node('m', policy('web'), (parse_prefix('fd00::1'),))
    assert between(node, six, GROUPS) == frozenset()        # they share no IP version
    assert between(node, node, GROUPS) == GROUPS['web'].rules
    assert outside(Node('n', policy('out', 'udp/53@external'), ()), GROUPS) == services('udp/53')


# --- ofproto/trace -----------------------------------------------------------------------------


def test_packets_as_the_switch_wants_them() -> None:
    four = parse_prefix('10.0.0.1'), parse_prefix('10.0.0.2')
    six = parse_prefix('fd00::1'), parse_prefix('fd00::2')
    assert format_packet(3, 120, ('a', 'b'), four, ANSWER) == (
        'in_port=3,vlan_tci=0x1078,dl_src=a,dl_dst=b,tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,'
        'tcp_src=443,tcp_dst=40000,tcp_flags=0x12')
    assert format_packet(3, 0, ('a', 'b'), six, Talk('icmp6', answer=True)) == (
        'in_port=3,dl_src=a,dl_dst=b,icmp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,nw_ttl=64,'
        'icmpv6_type=129,icmpv6_code=0')


@pytest.mark.parametrize('actions, ports, balanced', [
    ('drop', (), False), ('4', (4,), False),
    ('push_vlan(vid=120,pcp=0),2,pop_vlan,3', (2, 3), False),
    ('ct(commit,zone=40960),7', (7,), False), ('ct_clear,8', (8,), False),
    ('set(eth(src=02:00:00:00:00:01)),5', (5,), False), ('hash(l4(0)),recirc(0x1)', (), True),
    ('ct(zone=1),recirc(0x1)', (), False),
    ('clone(tnl_push(tnl_port(4),out_port(3)),9)', (), False)])
def test_what_the_switch_does(actions: str, ports: Tuple[int, ...], balanced: bool) -> None:
    traced = parse_trace(' 0. priority 0\n    NORMAL\n\nDatapath actions: %s\n' % actions)
    assert (traced.ports, traced.balanced) == (frozenset(ports), balanced)


def test_where_it_ended() -> None:
    ours = '234. reg13=1, priority 10, cookie 0x5849534f40000400\n    drop\nDatapath actions: drop'
    assert parse_trace(ours).end.startswith('table 234, ISOLATED_DROP')
    assert parse_trace(' 0. ip, priority 40000\n    drop').end == (
        'table 0, ip, priority 40000, a flow that is not ours')
    assert parse_trace('').end == 'nothing was traced'
    assert parse_ports('system@ovs-system: hit:1\n  xenbr0:\n    vif1.0 5/7: (system)\n') == {
        'vif1.0': 7}
