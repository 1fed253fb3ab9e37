"""From policies to items: scenarios as golden files, and what one VIF's event touches."""
import os

import pytest
from support.bridge_scenarios import (BLUE, DISABLED, ISOLATED, LOCKED, QUARANTINED, RED, SCENARIOS,
                                      UNLOCKED, also_by, attached, flows_of, golden_text, holding,
                                      mac_of, make_scenario, make_vif, member, plan_bridge,
                                      prefixes, registry_of)
from support.ofctl_text import format_add
from xsisolate.pipeline.peer_lookup import OWNERS_MAX
from xsisolate.pipeline.tables import DESTINATION, FULL, SPOOFED
from xsisolate.planner.context import PlanContext
from xsisolate.planner.cookie import BASE, Key, Kind, port_key
from xsisolate.planner.item_facts import parse_facts
from xsisolate.planner.plan import disturbed, draft_plan
from xsisolate.planner.vif import VifPort
from xsisolate.planner.vif_items import learned_flows
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.model import HOLDERS, Group, Service
from xsisolate.policy.resolve import asked_groups
from xsisolate.vif_id import parse_netdev

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'golden')


@pytest.mark.parametrize('name', sorted(SCENARIOS))
def test_golden(name, request):
    """The item `base` is the same in every scenario: it has a file of its own."""
    items = dict(SCENARIOS[name].plan())
    texts = {'base': golden_text({BASE: items.pop(BASE)}), name: golden_text(items)}
    for stem, text in texts.items():
        path = os.path.join(GOLDEN, stem + '.flows')
        if request.config.getoption('--golden', False):
            with open(path, 'w') as file:
                file.write(text)
        with open(path) as file:
            assert text == file.read(), 'if this is meant: pytest tests/unit --golden'


def test_every_golden_file_has_a_scenario():
    assert sorted(os.listdir(GOLDEN)) == sorted(name + '.flows' for name in {*SCENARIOS, 'base'})
    assert 'base' not in SCENARIOS


@pytest.mark.parametrize('name', sorted(SCENARIOS))
def test_planning_again_changes_nothing(name):
    first = SCENARIOS[name].plan()
    assert SCENARIOS[name].plan(registry_of(first)) == first


@pytest.mark.parametrize('name', sorted(SCENARIOS))
def test_no_vif_no_flow(name):
    scenario = SCENARIOS[name]
    gone = scenario.around._replace(ofports={})
    registry = registry_of(scenario.plan())
    assert plan_bridge(registry, [], gone).items == {}
    leaving = [vif._replace(ports=()) for vif in scenario.vifs]
    assert plan_bridge(registry, leaving, scenario.around).items == {}


@pytest.mark.parametrize('name', sorted(SCENARIOS))
def test_text_has_one_line_per_flow(name):
    for flow in flows_of(SCENARIOS[name].plan()):
        assert '\n' not in format_add(flow) and format_add(flow).isprintable()


def test_unlocked_is_as_without_us():
    assert make_scenario([make_vif(11, UNLOCKED)]).plan() == {}
    managed = make_scenario([make_vif(11, LOCKED, '10.9.0.11')])
    loosened = [managed.vifs[0]._replace(policy=make_vif(11, UNLOCKED).policy)]
    assert plan_bridge(registry_of(managed.plan()), loosened, managed.around).items == {}


@pytest.mark.parametrize('mode', [LOCKED, ISOLATED, DISABLED, QUARANTINED])
def test_each_mode_leads_to_base_and_bridge(mode):
    items = make_scenario([make_vif(11, mode)]).plan()
    kinds = sorted(key.kind.name for key in items)
    spread = ['SPREAD'] if mode is ISOLATED else []     # the network's, to its isolated VIFs
    assert kinds == ['BASE', 'BRIDGE', 'ENDPOINT', 'NETWORK', 'PORT'] + spread


def refused(first, second):
    """Return why the second VIF is refused; the first one must not notice."""
    before = make_scenario([first]).plan()
    both = make_scenario([first, second])
    plan = plan_bridge(registry_of(before), [second], both.around)
    for key, item in before.items():
        if key.kind in (Kind.ENDPOINT, Kind.PORT):
            assert plan.items[key] == item._replace(flows=None)
    vif, = plan.vifs
    assert vif.policy.mode in (second.policy.mode, QUARANTINED)
    if vif.policy.reason:
        for port in second.ports:
            item = plan.items[port_key(port.name)]
            assert {(flow.table, flow.actions) for flow in item.flows} == {
                (0, 'drop'), (SPOOFED, 'resubmit(,%d)' % FULL)}
            check_refused_endpoint(plan, item, second, first.mac)
    return vif.policy.reason


def check_refused_endpoint(plan, port, vif, taken):
    """Its own MAC address stays closed: NORMAL may have learned it and would deliver to it."""
    if vif.mac == taken:
        assert port.refs == ()
        return
    for ref in port.refs:
        facts = parse_facts(plan.items[ref])
        assert facts.mode == QUARANTINED.word and not facts.owners and not facts.groups
    assert [flow for ref in port.refs for flow in plan.items[ref].flows
            if flow.table == DESTINATION and 'dl_dst=' + vif.mac in flow.match]


def test_mac_of_another_vm_is_refused():
    reason = refused(RED[0], make_vif(13, own='10.9.0.13', tap=True)._replace(mac=RED[0].mac))
    assert RED[0].mac in reason and 'vif11.0' in reason


OWN = '10.9.0.11 10.9.0.0/28 fd00:9::11'


@pytest.mark.parametrize('own, address', [
    ('10.9.0.11', '10.9.0.11'), ('10.9.0.0/28', '10.9.0.0/28'), ('fd00:9::11', 'fd00:9::11'),
    ('10.9.0.12 fd00:9::11', 'fd00:9::11')])
@pytest.mark.parametrize('mode, groups', [(LOCKED, ''), (ISOLATED, ''), (ISOLATED, 'blue'),
                                          (LOCKED, 'red')])
def test_address_of_a_stranger_is_refused(own, address, mode, groups):
    reason = refused(make_vif(11, own=OWN, groups='red'), make_vif(12, mode, own, groups))
    assert address in reason and 'vif11.0' in reason


@pytest.mark.parametrize('second', [
    make_vif(12, own='10.9.0.12'), make_vif(12, own='10.9.0.11', tag=5),
    make_vif(12, LOCKED, '10.9.0.12')])
def test_what_is_nobody_elses_is_not_refused(second):
    assert refused(make_vif(11, own=OWN, groups='red'), second) == ''


@pytest.mark.parametrize('first, second, groups, fine', [
    ('own', 'own', 'red', False), ('own', 'shared', 'red', False), ('shared', 'own', 'red', False),
    ('shared', 'shared', 'red', True), ('shared', 'shared', 'blue', False)])
@pytest.mark.parametrize('address', ['10.9.0.11', 'fd00:9::11'])
def test_an_address_is_shared_if_all_its_owners_say_so(address, first, second, groups, fine):
    """A clone that was sealed with its parent's address has not said so."""
    reason = refused(make_vif(11, groups='red', **{first: address}),
                     make_vif(12, groups=groups, **{second: address}))
    assert (not reason) is fine
    assert fine or '%s is already that of vif11.0 of VM 00000000-' % address in reason, reason
    assert fine or 'under vif/<devid>/shared of both' in reason


def test_who_is_refused_takes_nothing_from_its_group():
    """A hook's plan for it alone left the group's multicast without flows."""
    before = make_scenario(RED).plan()
    late = make_vif(13, own='10.9.0.11', groups='red')
    around = make_scenario([*RED, late]).around._replace(thorough=False)
    plan = plan_bridge(registry_of(before), [late], around)
    assert plan.vifs[0].policy.mode is QUARANTINED
    for key, item in before.items():
        if key.kind in (Kind.SPREAD, Kind.PEERS):
            assert plan.items[key] == item._replace(flows=None)


@pytest.mark.parametrize('theirs, ours, tag, fine', [
    ('own', 'own', 0, False), ('own', 'shared', 0, False), ('shared', 'own', 0, False),
    ('shared', 'shared', 0, True), ('own', 'own', 5, True)])
def test_an_address_that_is_a_members_on_another_host(theirs, ours, tag, fine):
    """As far as the pool's files know; the VIF itself on its way from there is no other."""
    there = member(3, '10.9.0.11', tag)
    if theirs == 'shared':
        there = there._replace(shared=there.addresses)
    mine = make_vif(11, groups='red', **{ours: '10.9.0.11'})
    scenario = make_scenario([mine])
    asked = scenario._replace(around=scenario.around._replace(
        members={'red': (there,)}))
    vif, = asked.plan_whole().vifs
    assert vif.policy.mode is (ISOLATED if fine else QUARANTINED)
    assert fine or '10.9.0.11 is already that of the VIF with MAC address 02:00:00:00:f0:03 on ' \
        'another host, a member of group red' in vif.policy.reason
    # What it has already it keeps: somebody else came after it.
    vif, = asked.plan_whole(registry_of(scenario.plan())).vifs
    assert vif.policy.mode is ISOLATED
    moving = scenario._replace(vifs=(mine._replace(mac=there.mac),), around=asked.around)
    assert moving.plan_whole().vifs[0].policy.mode is ISOLATED


def test_who_comes_when_an_address_has_all_its_owners_keeps_the_rest():
    vifs = [make_vif(number, own='10.9.0.%d' % number, shared='10.9.0.100', groups='red')
            for number in range(11, 11 + OWNERS_MAX + 2)]
    scenario = make_scenario(vifs)
    plan = scenario.plan_whole()
    assert {vif.policy.mode for vif in plan.vifs} == {ISOLATED}
    shared = [flow for flow in flows_of(plan.items) if 'reg7=0xa090064' in flow.match]
    assert len(shared) == OWNERS_MAX == len({flow.match for flow in shared})
    late = plan.vifs[OWNERS_MAX:]
    for vif in plan.vifs[:OWNERS_MAX]:
        assert not vif.error and parse_prefix('10.9.0.100') in vif.policy.addresses
    for vif in late:
        assert 'waits for shared 10.9.0.100' in vif.error
        assert vif.policy.addresses == prefixes('10.9.0.%d' % vif.id.domid)
    # When an owner goes those who wait are looked at again, and the first of them has it.
    registry = registry_of(plan.items)
    gone = vifs[3]._replace(ports=())
    ofports = {port.name: port.ofport for vif in vifs for port in vif.ports if vif is not vifs[3]}
    waiting = disturbed(registry, gone, ofports)
    assert {vif.id for vif in late} <= set(waiting)
    after = plan_bridge(registry, [gone, *(vif for vif in vifs if vif.id in waiting)],
                        scenario.around._replace(ofports=ofports))
    assert [vif.id for vif in after.vifs if vif.waiting] == [late[1].id]


def test_whoever_has_an_address_keeps_it_whatever_its_number():
    old, new = make_vif(20, own='10.9.0.11'), make_vif(11, own='10.9.0.11')
    registry = registry_of(make_scenario([old]).plan())
    both = make_scenario([new, old])
    plan = plan_bridge(registry, [new, old], both.around)
    assert [vif.policy.mode for vif in plan.vifs] == [QUARANTINED, ISOLATED]


def test_mac_on_another_vlan_is_another_mac():
    twin = make_vif(13, own='10.9.0.11', tag=5)._replace(mac=RED[0].mac)
    items = make_scenario([RED[0], twin]).plan()
    assert len([key for key in items if key.kind is Kind.ENDPOINT]) == 2


def test_mac_that_a_dead_vif_left_is_free():
    before = make_scenario([RED[0]])
    heir = make_vif(13, own='10.9.0.11', groups='red')._replace(mac=RED[0].mac)
    items = plan_bridge(registry_of(before.plan()), [heir], make_scenario([heir]).around).items
    assert port_key('vif11.0') not in items and port_key('vif13.0') in items


def test_migration_onto_the_same_host_shares_the_endpoint():
    arriving = make_vif(21, own='10.9.0.11 fd00:9::11', groups='red')._replace(
        mac=RED[0].mac, vm_uuid=RED[0].vm_uuid)
    scenario = make_scenario([RED[0], arriving])
    items = scenario.plan()
    endpoints = {items[port_key(name)].refs for name in ('vif11.0', 'vif21.0')}
    assert len(endpoints) == 1
    left = plan_bridge(registry_of(items), [RED[0]._replace(ports=()), arriving],
                       make_scenario([arriving]).around).items
    assert 'output:11' not in str(left) and 'output:21' in str(left)


def test_endpoint_of_a_reused_domid_gets_another_id():
    old = make_scenario([make_vif(11, own='10.9.0.11')])
    other_mac = make_vif(11, own='10.9.0.11')._replace(mac=mac_of(77))
    items = make_scenario([make_vif(12, own='10.9.0.12')._replace(
        mac=mac_of(11)), other_mac]).plan()
    assert len({item.name for item in items.values() if item.key.kind is Kind.ENDPOINT}) == 2
    again = plan_bridge(registry_of(old.plan()), [other_mac], old.around).items
    assert [item.name.split()[1] for key, item in again.items()
            if key.kind is Kind.ENDPOINT] == [mac_of(77)]


def test_equal_allow_lists_are_one_set():
    vifs = [make_vif(number, own='10.9.0.%d' % number, allow=text) for number, text in (
        (11, '10.9.0.1 tcp/22@10.9.0.2'), (12, 'tcp/22@10.9.0.2 10.9.0.1'), (13, '10.9.0.1'))]
    items = make_scenario(vifs).plan()
    assert len([key for key in items if key.kind is Kind.PEERS]) == 2


def test_a_group_without_members_goes():
    both = make_scenario(RED + BLUE)
    registry = registry_of(both.plan())
    left = [vif._replace(ports=()) for vif in BLUE]
    items = plan_bridge(registry, left, both.around).items
    assert [item.name for key, item in items.items() if key.kind is Kind.PEERS] == ['group red']


def test_another_vifs_event_keeps_what_is_not_its_own():
    before = make_scenario(RED).plan()
    newcomer = make_vif(15, own='10.9.0.15', groups='green')
    around = make_scenario(RED + [newcomer]).around._replace(thorough=False)
    items = plan_bridge(registry_of(before), [newcomer], around).items
    for key, item in before.items():
        if key.kind in (Kind.PORT, Kind.ENDPOINT, Kind.PEERS):
            assert (items[key].digest, items[key].flows) == (item.digest, None)


@pytest.mark.parametrize('changed, names', [
    ({}, []),
    ({'vif12.0': 99}, [(12, 0)]),
    ({'vif11.0': 99}, []),
    ({'vif12.0': None}, []),
])
def test_who_is_disturbed(changed, names):
    scenario = make_scenario(RED)
    ofports = dict(scenario.around.ofports, **changed)
    ofports = {name: number for name, number in ofports.items() if number}
    assert disturbed(registry_of(scenario.plan()), RED[0], ofports) == names


def test_the_other_end_of_a_migration_is_disturbed():
    arriving = make_vif(21, own='10.9.0.11', groups='red')._replace(
        mac=RED[0].mac, vm_uuid=RED[0].vm_uuid)
    registry = registry_of(make_scenario(RED).plan())
    assert disturbed(registry, arriving, make_scenario(RED + [arriving]).around.ofports) == [
        (11, 0)]


def test_remote_members_of_other_networks_cost_nothing():
    text = golden_text(SCENARIOS['remote'].plan())
    assert 'reg7=0xa090067' not in text      # 10.9.0.103, on VLAN 99


def test_first_remote_member_keeps_a_doubled_address():
    scenario = make_scenario(RED[:1], members={'red': [member(2, '10.9.0.99'),
                                                       member(1, '10.9.0.99 10.9.0.98')]})
    flows = [flow for flow in flows_of(scenario.plan()) if 'reg7=0xa090063' in flow.match]
    assert len(flows) == 1 and 'load:0xf001->' in flows[0].actions


def test_learned_flows_carry_the_ports_cookie():
    learned = learned_flows(SCENARIOS['hvm'].plan())
    assert len(learned) == 4
    assert {flow.cookie for flow in learned} == {
        port_key(name).cookie for name in ('vif11.0', 'tap11.0')}


@pytest.mark.parametrize('groups, facts, asked', [
    ('', {}, ''),
    ('red', {}, 'red'),
    ('red', {'red': 'blue'}, 'red'),
    ('red', {'blue': 'red'}, 'red'),
    ('red', {'red': 'blue', 'blue': 'red'}, 'red blue'),
    ('red', {'red': 'red'}, 'red'),
    ('red', {'red': 'blue', 'blue': 'red green', 'green': 'blue'}, 'red blue'),
    ('red blue', {'red': 'green', 'green': 'blue red'}, 'red blue green'),
])
def test_reach_is_mutual(groups, facts, asked):
    facts = {name: Group(reach=frozenset(reach.split())) for name, reach in facts.items()}
    assert asked_groups(groups.split(), facts) == frozenset(asked.split())


@pytest.mark.parametrize('name, vif, tap', [
    ('vif5.0', (5, 0), False), ('tap5.0', (5, 0), True), ('vif32751.255', (32751, 255), False)])
def test_netdev_names(name, vif, tap):
    assert parse_netdev(name) == vif
    assert port_key(name) == Key(Kind.PORT, vif[0] << 9 | vif[1] << 1 | tap)


def test_a_changed_base_is_repaired_by_any_event():
    scenario = make_scenario(RED)
    registry = dict(registry_of(scenario.plan()))
    registry[BASE] = registry[BASE]._replace(digest='0' * 32)
    newcomer = make_vif(15, LOCKED, '10.9.0.15')
    items = plan_bridge(registry, [newcomer], make_scenario(RED + [newcomer]).around).items
    assert items[BASE].flows and items[BASE].digest != '0' * 32


def test_a_vif_with_no_groups_and_no_allow_asks_nobody():
    items = make_scenario([make_vif(11, own='10.9.0.11')]).plan()
    asking = [flow for flow in flows_of(items) if 'dl_src=' + mac_of(11) in flow.match
              and 'REG12' in flow.actions]
    assert asking == []


def test_own_ofport_moves_with_the_netdev():
    scenario = make_scenario(RED)
    moved = RED[0]._replace(ports=(VifPort('vif11.0', 40),))
    items = plan_bridge(registry_of(scenario.plan()), [moved], make_scenario(
        [moved, RED[1]]).around).items
    text = '\n'.join(format_add(flow) for flow in flows_of(items))
    assert 'in_port=40,' in text and 'in_port=11,' not in text and 'output:11' not in text


# --- members elsewhere, known by their stamp -------------------------------------------------

ELSEWHERE = {'red': [member(1, '10.9.0.41'), member(2, '10.9.0.42')]}


def stamped(stamp, members=ELSEWHERE, **more):
    """Return a scenario as a hook meets it: a group's members are read only if they changed."""
    scenario = make_scenario(RED, members=members, **more)
    return scenario._replace(around=scenario.around._replace(
        thorough=False, stamp=stamp))


def group_of(items):
    return next(item for item in items.values() if item.name == 'group red')


def test_members_whose_stamp_is_known_are_not_read():
    first = stamped('yesterday').plan()
    assert len(group_of(first).flows) == 5
    again = stamped('yesterday', members={'red': None})     # not read
    found = group_of(again.plan(registry_of(first)))
    assert found == group_of(first)._replace(flows=None)


@pytest.mark.parametrize('second', [
    stamped('today'), stamped('yesterday')._replace(
        around=stamped('yesterday').around._replace(thorough=True)),
    stamped('yesterday', groups={'red': Group(addresses=prefixes('10.7.0.1'))}),
    stamped('yesterday', groups={'red': Group(rules=frozenset({Service('tcp', 22, 22)}))})])
def test_members_are_read_if_anything_may_have_changed(second):
    first = stamped('yesterday', {'red': ELSEWHERE['red'][:1]}).plan()
    found = group_of(second.plan(registry_of(first)))
    assert found.flows and found.digest != group_of(first).digest


def test_members_are_read_when_a_network_comes():
    first = stamped('yesterday', {'red': [member(1, '10.9.0.41', tag=5)]})
    assert len(group_of(first.plan()).flows) == 1
    newcomer = make_vif(15, own='10.9.0.15', groups='red', tag=5)
    second = stamped('yesterday', {'red': [member(1, '10.9.0.41', tag=5)]})
    second = second._replace(vifs=(newcomer,), around=second.around._replace(
        ofports=dict(second.around.ofports, **{'vif15.0': 15})))
    assert len(group_of(second.plan(registry_of(first.plan()))).flows) == 3


# --- networks, by the stamp of the file of those that hold roles elsewhere -----------------------

HELD = {HOLDERS: [member(1, '10.9.0.101')._replace(roles=frozenset(['gateway']))]}
NETWORK_KEY = Key(Kind.NETWORK, 0)


def replanned(second, vifs=None):
    """Return the network's item as a hook plans it, after a sync of two VIFs with one holder."""
    first = stamped('yesterday', HELD)
    before = first._replace(around=first.around._replace(thorough=True)).plan()
    assert '0xf001' in str(before[NETWORK_KEY].flows)
    again = second if vifs is None else second._replace(vifs=tuple(vifs))
    return again.plan(registry_of(before))[NETWORK_KEY], before[NETWORK_KEY]


def test_holders_whose_stamp_is_known_are_not_read():
    found, before = replanned(stamped('yesterday', {HOLDERS: None}), RED[:1])
    assert found == before._replace(flows=None)


@pytest.mark.parametrize('second, vifs', [
    (stamped('today', {}), RED[:1]),
    (stamped('yesterday', {}), [holding(RED[0], 'gateway')]),
    (stamped('yesterday', {}), [make_vif(11, own='10.9.0.101', groups='red')]),
    (stamped('yesterday', {}), [RED[0]._replace(ports=())])])
def test_holders_are_read_if_anything_may_have_changed(second, vifs):
    found, before = replanned(second, vifs)
    assert found.flows is not None and '0xf001' not in str(found.flows)


# --- additional MAC addresses ----------------------------------------------------------------

VIRTUAL = '00:00:5e:00:01:05'


@pytest.mark.parametrize('mine, theirs, groups, fine', [
    ([VIRTUAL], [VIRTUAL], 'red', True), ([VIRTUAL], [VIRTUAL], 'blue', False),
    (['vrrp'], [VIRTUAL], 'red', True), ([VIRTUAL], ['vrrp'], 'blue', False),
    ([mac_of(11)], [], 'red', False), ([], [mac_of(12)], 'red', False),
    ([VIRTUAL], ['00:00:5e:00:01:06'], 'blue', True), (['vrrp'], [], 'blue', True)])
def test_who_may_list_a_mac_address(mine, theirs, groups, fine):
    """The first has it; who comes later needs a common group, and no VIF's own is listed."""
    old = also_by(make_vif(11, own='10.9.0.11', groups='red'), *theirs)
    new = also_by(make_vif(12, own='10.9.0.12', groups=groups), *mine)
    first, second = make_scenario([old, new]).plan_whole().vifs
    assert first.policy.mode is ISOLATED
    assert second.policy.mode is (ISOLATED if fine else QUARANTINED)
    assert fine or 'is already that of vif11.0' in second.policy.reason
    # in another VLAN each may have what it likes
    apart = make_scenario([old, new._replace(networks=(attached(7),))]).plan_whole()
    assert [vif.policy.mode for vif in apart.vifs] == [ISOLATED, ISOLATED]


@pytest.mark.parametrize('mac, why', [
    (VIRTUAL, 'of VM 00000000-0000-4000-9000-000000000011, whose policy lists it'),
    (mac_of(11), 'of VM 00000000-0000-4000-9000-000000000011, which is managed'),
    ('02:00:00:00:f0:01', 'of another host, which holds the role dhcp'),
    ('00:00:5e:00:01:09', 'of another host, whose policy lists it'), ('02:00:00:00:00:99', '')])
def test_why_an_unmanaged_vif_is_mute(mac, why):
    holder = member(1, '10.9.0.101')._replace(roles=frozenset(['dhcp']),
                                              macs=frozenset(['00:00:5e:00:01:09']))
    vifs = [also_by(make_vif(11, own='10.9.0.11', groups='red'), VIRTUAL),
            make_vif(12, UNLOCKED)._replace(mac=mac)]
    scenario = make_scenario(vifs, members={HOLDERS: [holder]})
    context = PlanContext(scenario.around.topology, scenario.around.ofports,
                          scenario.around.config, reserved=(holder,))
    mute = draft_plan({}, vifs, context).vifs[1].mute
    assert why in mute and ('nothing that this VIF sends passes' in mute) is bool(why)
