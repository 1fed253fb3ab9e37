"""Laws that hold for every plan, whatever the policies."""
import os
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sandbox.pythons import ROOT
from support.bridge_scenarios import (also_by, flows_of, holding, judged_only, make_scenario,
                                      make_vif, member, plan_bridge, prefixes, registry_of)
from support.bridge_strategies import GROUPS, scenarios, vifs
from support.flow_matches import disagreements
from support.ofctl_text import format_add
from xsisolate.openflow.ownership import HEADER, OWNER_MASK
from xsisolate.planner.cookie import Kind
from xsisolate.planner.items import header_flow, parse_registry
from xsisolate.planner.vif import Attached
from xsisolate.policy.model import HOLDERS, ROLES, Group, Mode
from xsisolate.policy.resolve import asked_groups

SLOWLY = settings(deadline=None, max_examples=60,
                  suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@SLOWLY
@given(scenarios())
def test_plan_is_deterministic(scenario):
    backwards = scenario._replace(vifs=scenario.vifs[::-1])
    assert scenario.plan() == scenario.plan()
    # the numbers of peer sets go by who comes first; nothing else depends on it
    assert len(flows_of(backwards.plan())) == len(flows_of(scenario.plan()))


@SLOWLY
@given(scenarios())
def test_planning_again_changes_nothing(scenario):
    first = scenario.plan()
    assert scenario.plan(registry_of(first)) == first


@SLOWLY
@given(scenarios())
def test_no_vif_no_flow(scenario):
    registry = registry_of(scenario.plan())
    assert plan_bridge(registry, [], scenario.around._replace(ofports={})).items == {}
    leaving = [vif._replace(ports=()) for vif in scenario.vifs]
    assert plan_bridge(registry, leaving, scenario.around).items == {}


@SLOWLY
@given(scenarios(), vifs(40))
def test_a_newcomer_leaves_the_others_own_items_alone(scenario, newcomer):
    before = scenario.plan()
    more = make_scenario(scenario.vifs + (newcomer,), scenario.around.topology.uplinks)
    around = scenario.around._replace(topology=more.around.topology, ofports=more.around.ofports)
    after = plan_bridge(registry_of(before), [newcomer], around).items
    for key, item in before.items():
        if key.kind in (Kind.PORT, Kind.ENDPOINT):
            assert after[key] == item._replace(flows=None)
        elif key.kind in (Kind.BASE, Kind.PEERS):
            # a newcomer brings its network along, and with it the members there
            if set(newcomer.networks) <= {net for vif in scenario.vifs for net in vif.networks}:
                assert after[key].digest == item.digest


@SLOWLY
@given(scenarios())
def test_one_by_one_is_the_same_as_all_at_once(scenario):
    registry = {}
    for vif in scenario.vifs:
        registry = registry_of(plan_bridge(registry, [vif], scenario.around).items)
    for vif in scenario.vifs:       # the later ones' networks concern the first one's groups
        registry = registry_of(plan_bridge(registry, [vif], scenario.around).items)
    assert registry == registry_of(scenario.plan(registry))


@SLOWLY
@given(scenarios())
def test_a_vif_that_leaves_takes_its_own_and_no_more(scenario):
    leaving, staying = scenario.vifs[0], scenario.vifs[1:]
    rest = scenario._replace(vifs=staying)
    left = plan_bridge(registry_of(scenario.plan()), [leaving._replace(ports=())],
                       scenario.around).items
    assert {(key.kind, item.name) for key, item in left.items()} == {
        (key.kind, item.name) for key, item in rest.plan().items()}


@SLOWLY
@given(scenarios())
def test_no_two_flows_have_the_same_match(scenario):
    flows = flows_of(scenario.plan())
    assert len({flow[:3] for flow in flows}) == len(flows)


@SLOWLY
@given(scenarios(most=3))
def test_no_two_flows_of_equal_priority_disagree_about_a_packet(scenario):
    tables = defaultdict(list)
    for flow in flows_of(scenario.plan()):
        tables[flow.table, flow.priority].append(flow)
    for flows in tables.values():
        for one, other in disagreements(flows):
            raise AssertionError('%s\n%s' % (one, other))


@SLOWLY
@given(scenarios())
def test_every_flow_is_one_line_with_our_cookie(scenario):
    items = scenario.plan()
    for key, item in items.items():
        assert all(flow.cookie == key.cookie for flow in item.flows)
        header = header_flow(item)
        assert header.cookie == key.cookie | HEADER
        assert parse_registry([header]) == {key: item._replace(flows=None)}
    for flow in flows_of(items):
        text = format_add(flow)
        assert text.isprintable() and ' ' not in flow.match + flow.actions
        assert flow.cookie & OWNER_MASK


NETWORK_ID = 0xa000
NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7e, blacklist_characters='|'),
                min_size=1, max_size=20)


@SLOWLY
@given(NAMES, NAMES, st.sampled_from(GROUPS))
def test_no_name_breaks_a_header(bridge, uuid, group):
    vif = make_vif(11, own='10.9.0.11', groups=group)._replace(
        networks=(Attached(NETWORK_ID, bridge, uuid),))
    items = make_scenario([vif]).plan()
    assert set(registry_of(items)) == set(items)


@SLOWLY
@given(st.dictionaries(st.sampled_from(GROUPS), st.builds(
    Group, reach=st.frozensets(st.sampled_from(GROUPS)))))
def test_reach_is_mutual(facts):
    for group in GROUPS:
        for other in GROUPS:
            assert (group in asked_groups([other], facts)) == (
                other in asked_groups([group], facts))


# What things cost, headers included. README and pipeline page quote these numbers.
BASE = 357              # with one uplink, Dom0's own port and IGMP reports let through
BOND_MEMBER = 1         # each more than one
NETWORK = 1
FANOUT = 2              # a network with an isolated VIF
CLOSED_VIF = 11         # disabled or quarantined
LOCKED_VIF = 21
ISOLATED_VIF = 24
PERMISSIVE_ISOLATED, PERMISSIVE_LOCKED = 26, 22
TAP = 11                # an HVM guest's second netdev
OWN_ADDRESS = 1
MEMBERSHIP = 1          # a VIF in a group
GROUP = 5               # without rules, members on one network
OUTSIDE_ADDRESS = 1     # of a group's `addresses`
REMOTE_MEMBER = 1
REMOTE_ADDRESS = 1
ALLOW_LIST = 1
ALLOW_ENTRY = 1
ALLOW_ENTRY_TCP = 4     # with one port, of one family, or with a direction
# All three roles: once for a network, then for each that holds them, and each of its addresses.
HELD, HELD_ISOLATED, HELD_ELSEWHERE = 14, 3, 10
HELD_BY_BOTH = 9        # of these are the same, here and elsewhere
LOCKED_HOLDER, LOCKED_HOLDER_ADDRESS = 2, 2
ISOLATED_HOLDER, ISOLATED_HOLDER_ADDRESS = 11, 3
REMOTE_HOLDER, REMOTE_HOLDER_ADDRESS = 13, 5
# Additional MAC addresses: of a VIF with one netdev, and what a network has of each, once.
USER, USER_ISOLATED, USER_MAC = 4, 2, 9
MAC_HERE, MAC_ISOLATED, MAC_ON_BOTH, MAC_ELSEWHERE = 7, 1, 3, 3
REMOTE_USER, REMOTE_USER_MAC = 1, 1     # in each group
SHARING, SHARED_ALOUD, SHARER, SHARER_MAC = 1, 1, 2, 1      # elsewhere, for each shared address


PAGE = os.path.join(ROOT, 'docs', 'performance.md')
SAID = (('base, with one uplink', BASE), ('each further member of a bond', BOND_MEMBER),
        ('isolated VIF', ISOLATED_VIF), ('locked VIF', LOCKED_VIF),
        ('permissive VIF: isolated; locked', '%d; %d' % (PERMISSIVE_ISOLATED, PERMISSIVE_LOCKED)),
        ('disabled or quarantined VIF', CLOSED_VIF), ('own address', OWN_ADDRESS),
        ("second netdev of an HVM guest", TAP), ('membership of a VIF in a group', MEMBERSHIP),
        ('group', GROUP), ("address in a group's `addresses`", OUTSIDE_ADDRESS),
        ('member elsewhere, and each of its addresses',
         '%d + %d' % (REMOTE_MEMBER, REMOTE_ADDRESS)),
        ('allow list, however many VIFs share it', ALLOW_LIST), (
            'entry of an allow list: without service; with one port of one family, or a direction',
            '%d; %d' % (ALLOW_ENTRY, ALLOW_ENTRY_TCP)),
        ('network whose three roles are held: by a locked VIF; an isolated one; on another host',
         '%d; %d; %d' % (HELD, HELD + HELD_ISOLATED, HELD_ELSEWHERE)),
        ('locked holder of them, and each of its addresses',
         '%d + %d' % (LOCKED_HOLDER, LOCKED_HOLDER_ADDRESS)),
        ('isolated holder, and each of its addresses; each subnet',
         '%d + %d; 1' % (ISOLATED_HOLDER, ISOLATED_HOLDER_ADDRESS)),
        ('holder on another host, and each of its addresses',
         '%d + %d' % (REMOTE_HOLDER, REMOTE_HOLDER_ADDRESS)),
        ('VIF with additional MAC addresses: locked; isolated; each of them',
         '%d; %d; %d' % (USER, USER + USER_ISOLATED, USER_MAC)),
        ('network, each additional MAC address: of locked VIFs here; with isolated ones; elsewhere',
         '%d; %d; %d' % (MAC_HERE, MAC_HERE + MAC_ISOLATED, MAC_ELSEWHERE)),
        ('the same, here and elsewhere, on top', MAC_ON_BOTH),
        ('member elsewhere with additional MAC addresses, and each of them',
         '%d + %d' % (REMOTE_USER, REMOTE_USER_MAC)),
        ('address that members elsewhere share; each of them; each additional MAC address',
         '%d; %d; %d' % (SHARING, SHARER, SHARER_MAC)),
        ('the same, without additional MAC addresses, on top', SHARED_ALOUD))


@pytest.mark.parametrize('what, flows', SAID)
def test_the_page_says_so(what, flows):
    with open(PAGE, encoding='utf-8') as file:
        assert '| %s | %s |\n' % (what, flows) in file.read()


def count(vifs, **facts):
    return len(flows_of(make_scenario(vifs, **facts).plan()))


@SLOWLY
@given(isolated=st.integers(1, 12), locked=st.integers(0, 5), closed=st.integers(0, 3),
       addresses=st.integers(0, 5), groups=st.integers(0, 4), members=st.integers(0, 9),
       outside=st.integers(0, 3), remote_addresses=st.integers(0, 3), entries=st.integers(0, 9),
       tcp=st.integers(0, 5), outward=st.integers(0, 3), lists=st.integers(0, 1),
       taps=st.booleans(), bond=st.integers(1, 3))
def test_flow_count(isolated, locked, closed, addresses, groups, members, outside,
                    remote_addresses, entries, tcp, outward, lists, taps, bond):
    assume(lists or not entries + tcp + outward)
    names = ' '.join('g%d' % number for number in range(groups))
    allow = ' '.join(['10.1.%d.7' % entry for entry in range(entries)]
                     + ['%stcp/22@10.2.%d.7' % (('', 'out:', 'in:')[entry % 3], entry)
                        for entry in range(tcp)]
                     + ['out:10.3.%d.7' % entry for entry in range(outward)])
    lists = 1 if allow else 0

    def own(number):
        return ' '.join('10.9.%d.%d' % (number, host) for host in range(addresses))
    vifs = [make_vif(number, own=own(number), groups=names, allow=allow, tap=taps)
            for number in range(11, 11 + isolated)]
    vifs += [make_vif(number, Mode.LOCKED, own=own(number))
             for number in range(51, 51 + locked)]
    vifs += [make_vif(number, Mode.DISABLED) for number in range(71, 71 + closed)]
    remote = [member(number, ' '.join('10.8.%d.%d' % (number, host)
                                      for host in range(remote_addresses)))
              for number in range(members)]
    facts = Group(addresses=prefixes(' '.join('10.7.%d.7' % host for host in range(outside))))
    assert count(vifs, uplinks=(tuple(range(1, 1 + bond)),),
                 groups=dict.fromkeys(names.split(), facts),
                 members=dict.fromkeys(names.split(), remote)) == (
        BASE + BOND_MEMBER * (bond - 1) + NETWORK + FANOUT
        + isolated * (ISOLATED_VIF + TAP * taps + OWN_ADDRESS * addresses + MEMBERSHIP * groups)
        + locked * (LOCKED_VIF + OWN_ADDRESS * addresses) + closed * CLOSED_VIF
        + groups * (GROUP + OUTSIDE_ADDRESS * outside
                    + members * (REMOTE_MEMBER + REMOTE_ADDRESS * remote_addresses))
        + lists * ALLOW_LIST + entries * ALLOW_ENTRY + (tcp + outward) * ALLOW_ENTRY_TCP)


@SLOWLY
@given(locked=st.integers(0, 3), isolated=st.integers(0, 3), remote=st.integers(0, 3),
       addresses=st.integers(1, 4))
def test_flow_count_of_holders(locked, isolated, remote, addresses):
    """Roles cost what the page says, on top of what their holders cost without."""
    def own(number):
        return ' '.join('10.9.%d.%d' % (number, host) for host in range(addresses))
    vifs = [make_vif(number, Mode.LOCKED, own=own(number)) for number in range(51, 51 + locked)]
    vifs += [make_vif(number, own=own(number)) for number in range(11, 11 + isolated)]
    there = [member(number, own(100 + number))._replace(roles=frozenset(ROLES))
             for number in range(remote)]
    client = make_vif(91, own='10.9.0.1')
    here, held = bool(locked + isolated), count(
        [client] + [holding(vif, *ROLES) for vif in vifs], members={HOLDERS: there})
    named = HELD + HELD_ELSEWHERE - HELD_BY_BOTH if here and remote else (
        HELD if here else HELD_ELSEWHERE if remote else 0)
    assert held - count([client] + vifs) == (
        named + HELD_ISOLATED * bool(isolated)
        + locked * (LOCKED_HOLDER + LOCKED_HOLDER_ADDRESS * addresses)
        + isolated * (ISOLATED_HOLDER + ISOLATED_HOLDER_ADDRESS * addresses)
        + remote * (REMOTE_HOLDER + REMOTE_HOLDER_ADDRESS * addresses))


@SLOWLY
@given(locked=st.integers(0, 3), isolated=st.integers(0, 3), remote=st.integers(0, 2),
       macs=st.integers(1, 3), shared=st.integers(0, 2))
def test_flow_count_of_additional_macs(locked, isolated, remote, macs, shared):
    """They cost what the page says, on top of what their VIFs cost without."""
    listed = ['00:00:5e:00:01:%02x' % number for number in range(macs)]
    vifs = [make_vif(number, Mode.LOCKED, own='10.9.0.%d' % number, groups='red')
            for number in range(51, 51 + min(locked, 1))]
    vifs += [make_vif(number, own='10.9.0.%d' % number, groups='red')
             for number in range(11, 11 + isolated * (not vifs))]
    addresses = ' '.join('10.9.1.%d' % number for number in range(shared))
    there = [member(number, '10.9.2.%d %s' % (number, addresses))._replace(
        shared=prefixes(addresses)) for number in range(remote)]
    client = make_vif(91, own='10.9.0.1', groups='red')

    def cost(here, elsewhere):
        return count([client] + here, members={'red': elsewhere, HOLDERS: elsewhere})
    told = [one._replace(macs=frozenset(listed)) for one in there]
    users, elsewhere = len(vifs), bool(there)
    closed = vifs and vifs[0].policy.mode is Mode.LOCKED
    assert cost([also_by(vif, *listed) for vif in vifs], told) - cost(vifs, there) == (
        users * (USER + USER_ISOLATED * (not closed) + USER_MAC * macs)
        + macs * ((MAC_HERE + MAC_ISOLATED * (not closed) + MAC_ON_BOTH * elsewhere) if users
                  else MAC_ELSEWHERE * elsewhere)
        + remote * (REMOTE_USER + REMOTE_USER_MAC * macs)
        + shared * elsewhere * (SHARER_MAC * macs - SHARED_ALOUD))


@SLOWLY
@given(isolated=st.integers(1, 3), remote=st.integers(0, 4), shared=st.integers(0, 3))
def test_flow_count_of_shared_addresses(isolated, remote, shared):
    """Members elsewhere that share addresses cost what the page says, on top of the first's."""
    vifs = [make_vif(number, own='10.9.0.%d' % number, groups='red')
            for number in range(11, 11 + isolated)]
    addresses = prefixes(' '.join('10.9.1.%d' % number for number in range(shared)))
    alone = [member(number, '10.9.2.%d' % number) for number in range(remote)]
    first = [one._replace(addresses=one.addresses | addresses) if number == 0 else one
             for number, one in enumerate(alone)]
    sharing = [one._replace(addresses=one.addresses | addresses, shared=addresses)
               for one in alone]
    assert count(vifs, members={'red': sharing, HOLDERS: sharing}) - count(
        vifs, members={'red': first}) == shared * bool(remote) * (
            SHARING + SHARED_ALOUD + SHARER * remote)


@pytest.mark.parametrize('mode, flows', [(Mode.ISOLATED, PERMISSIVE_ISOLATED),
                                         (Mode.LOCKED, PERMISSIVE_LOCKED)])
def test_flow_count_of_a_permissive_vif(mode, flows):
    vifs = [make_vif(11), make_vif(12)]
    assert count([*vifs, judged_only(make_vif(13, mode))]) == count(vifs) + flows
