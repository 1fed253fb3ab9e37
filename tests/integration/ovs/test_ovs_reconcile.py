"""Reconciling a real switch: repairs its own, spares everybody else's, does nothing twice."""
import random
from typing import NamedTuple, Tuple

import pytest

from support.ofctl_text import format_add
from support.bridge_scenarios import (BLUE, DISABLED, ISOLATED, LOCKED, QUARANTINED, RED, SCENARIOS,
                                      UNLOCKED, flows_of, make_policy, make_scenario, make_vif,
                                      mac_of, member, plan_bridge, rules)
from xsisolate.dataplane import reconcile as reconciling
from xsisolate.dataplane.switch_state import read_registry, read_switch
from xsisolate.dom0.ovs import flow_table
from xsisolate.openflow.flow import Flow, FlowDiff, make_flow
from xsisolate.openflow.ownership import HEADER, OWNER, REGISTRY
from xsisolate.pipeline.tables import FULL, SPOOFED
from xsisolate.planner.cookie import BASE, Key, Kind, port_key
from xsisolate.planner.items import NOTE, format_note
from xsisolate.planner.items import parse_registry
from xsisolate.planner.plan import disturbed
from xsisolate.planner.vif import Vif
from xsisolate.planner.vif_items import learned_flows
from xsisolate.policy.model import Mode

FOREIGN = """
cookie=0,priority=32768,ip,nw_src=10.0.0.1,actions=NORMAL
cookie=1,priority=4000,in_port=1,ip,actions=drop
cookie=1,table=0,priority=65500,in_port=77,actions=drop
cookie=0x7fa3c5d2e1b40968,priority=65490,udp,tp_dst=53,actions=output:7
cookie=0xffffffffffffffff,priority=1,arp,actions=NORMAL
cookie=0x5849534e40001600,table=200,priority=200,ipv6,actions=drop
cookie=0x5849534f,table=226,priority=20,reg13=0xa000,reg14=0x4,reg7=0xa090050,actions=drop
cookie=0x4f534958,table=234,priority=1,metadata=0x80000001,actions=note:61.62.63.64.65.66
cookie=0xabc,table=101,priority=9,tcp,actions=resubmit(,102)
cookie=0x9,table=5,idle_timeout=3600,hard_timeout=7200,priority=7,ip,actions=drop
"""


class Outcome(NamedTuple):
    """What reconciling changed, and what became of the VIFs."""

    added: int
    deleted: int
    vifs: Tuple[Vif, ...]


def reconcile(bridge, vifs, around):
    """Do what a hook does under the bridge's lock."""
    state = read_switch(bridge)
    plan = plan_bridge(state.items, vifs, around)
    result = reconciling.reconcile(bridge, state, plan, around.ofports)
    return Outcome(len(result.add), len(result.delete), plan.vifs)


def dump(switch, bridge):
    """Return every flow of a bridge as the switch prints it."""
    return sorted(switch.dump_flows(bridge, '-O', 'OpenFlow14'))


def age(switch, bridge):
    """Return how long each flow has been there: a flow added anew is younger."""
    text = switch.ofctl('-O', 'OpenFlow14', 'dump-flows', bridge)
    return {line.split('duration=')[0] + line.split('n_bytes=')[1].split(', ', 1)[1]:
            float(line.split('duration=')[1].split('s')[0])
            for line in text.splitlines() if 'duration=' in line}


def settle(bridge, scenario):
    """Reconcile every VIF of a scenario, twice: later ones bring networks and groups."""
    for _ in range(2):
        for vif in scenario.vifs:
            reconcile(bridge, [vif], scenario.around)


def test_a_switch_that_has_lost_its_flows_meanwhile_is_not_told_half_of_them(switch, bridge):
    scenario = make_scenario(RED)
    settle(bridge, scenario)
    state = read_switch(bridge)
    plan = plan_bridge(state.items, [RED[0]], scenario.around)
    switch.ofctl('-O', 'OpenFlow14', 'del-flows', bridge)
    with pytest.raises(reconciling.Outdated, match='lost its flows'):
        reconciling.reconcile(bridge, state, plan, scenario.around.ofports)
    assert not dump(switch, bridge)


def spied(monkeypatch):
    """Return the list in which bundles are noted."""
    bundles, apply_diff = [], flow_table.apply_diff
    monkeypatch.setattr(flow_table, 'apply_diff',
                        lambda *args: (bundles.append(args), apply_diff(*args))[1])
    return bundles


@pytest.mark.parametrize('name', sorted(SCENARIOS))
def test_reconcile_makes_the_plan_and_then_nothing(switch, bridge, name, monkeypatch):
    scenario = SCENARIOS[name]
    settle(bridge, scenario)
    ours = flow_table.read_flows(bridge)
    assert {flow[:4] for flow in ours} == {flow[:4] for flow in flows_of(scenario.plan())} or (
        len(ours) == len(flows_of(scenario.plan())))
    before, bundles = age(switch, bridge), spied(monkeypatch)
    for vif in scenario.vifs:
        result = reconcile(bridge, [vif], scenario.around)
        assert (result.added, result.deleted) == (0, 0)
    after = age(switch, bridge)
    assert not bundles
    assert before.keys() == after.keys()
    assert all(after[flow] >= before[flow] for flow in before)


@pytest.mark.parametrize('name', sorted(SCENARIOS))
def test_the_last_vif_leaves_nothing(bridge, name):
    scenario = SCENARIOS[name]
    settle(bridge, scenario)
    for vif in scenario.vifs:
        reconcile(bridge, [vif._replace(ports=())], scenario.around)
    assert flow_table.read_flows(bridge) == frozenset()


def test_foreign_flows_stay_byte_for_byte(switch, bridge):
    switch.ofctl('-O', 'OpenFlow14', 'add-flows', bridge, '-', stdin=FOREIGN)
    foreign = dump(switch, bridge)
    assert len(foreign) == 11       # and NORMAL
    scenario = make_scenario(RED + BLUE)
    settle(bridge, scenario)
    assert set(foreign) <= set(dump(switch, bridge))
    assert len(dump(switch, bridge)) == 11 + len(flow_table.read_flows(bridge))
    looser = [RED[0]._replace(policy=make_policy(LOCKED, '10.9.0.11'))]
    reconcile(bridge, looser, scenario.around)
    for vif in scenario.vifs:
        reconcile(bridge, [vif._replace(ports=())], scenario.around)
    assert dump(switch, bridge) == foreign


def own_flows(items, vif):
    """Return the flows that belong to a VIF alone."""
    keys = [port_key(port.name) for port in vif.ports]
    keys += [ref for key in keys for ref in items[key].refs]
    return sorted(flow for key in keys for flow in items[key].flows)


@pytest.mark.parametrize('vif', [
    RED[0], make_vif(11, LOCKED, '10.9.0.11 fd00:9::11', tap=True), make_vif(11, DISABLED),
    make_vif(11, own='10.9.0.11', groups='red', allow='tcp/22@10.9.0.0/28')])
def test_any_lost_or_altered_flow_of_a_vif_comes_back(switch, bridge, vif):
    scenario = make_scenario([vif, RED[1]])
    settle(bridge, scenario)
    whole = flow_table.read_flows(bridge)
    for flow in own_flows(scenario.plan(), vif):
        flow_table.apply_diff(bridge, FlowDiff(delete=(flow,)))
        assert flow_table.read_flows(bridge) == whole - {flow}
        result = reconcile(bridge, [vif], scenario.around)
        assert (result.added, result.deleted) == (1, 0), flow
        altered = flow._replace(actions='NORMAL')
        switch.ofctl('-O', 'OpenFlow14', 'add-flow', bridge, format_add(altered)[len('add '):])
        assert flow_table.read_flows(bridge) == (whole - {flow}) | {altered}
        result = reconcile(bridge, [vif], scenario.around)
        assert (result.added, result.deleted) == (1, 1), flow
        assert flow_table.read_flows(bridge) == whole


def test_many_flows_lost_at_once(switch, bridge):
    scenario = make_scenario(RED)
    settle(bridge, scenario)
    whole = flow_table.read_flows(bridge)
    for flow in own_flows(scenario.plan(), RED[0]):
        flow_table.apply_diff(bridge, FlowDiff(delete=(flow,)))
    assert len(flow_table.read_flows(bridge)) < len(whole)
    reconcile(bridge, [RED[0]], scenario.around)
    assert flow_table.read_flows(bridge) == whole


def test_a_foreign_flow_in_place_of_ours_is_taken_back(switch, bridge):
    scenario = make_scenario(RED)
    settle(bridge, scenario)
    whole = flow_table.read_flows(bridge)
    for flow in own_flows(scenario.plan(), RED[0]):
        switch.ofctl('-O', 'OpenFlow14', 'add-flow', bridge,
                     format_add(flow._replace(cookie=1, actions='drop'))[len('add '):])
        reconcile(bridge, [RED[0]], scenario.around)
        assert flow_table.read_flows(bridge) == whole


@pytest.mark.parametrize('key', sorted(make_scenario(RED).plan()))
def test_a_lost_header_comes_back(bridge, key):
    scenario = make_scenario(RED)
    settle(bridge, scenario)
    whole = flow_table.read_flows(bridge)
    header, = [flow for flow in flow_table.read_flows(bridge)
               if flow.cookie == key.cookie | HEADER]
    flow_table.apply_diff(bridge, FlowDiff(delete=(header,)))
    others = disturbed(read_registry(bridge), RED[0], scenario.around.ofports)
    reconcile(bridge, [RED[0]] + [vif for vif in RED[1:] if vif.id in others],
              scenario.around)
    newcomers = make_scenario(RED + BLUE)
    reconcile(bridge, BLUE, newcomers.around)       # so many that everything is read
    reconcile(bridge, [vif._replace(ports=()) for vif in BLUE], scenario.around)
    missing = whole - flow_table.read_flows(bridge)
    # what is not repaired at once stays closed: the port's own flows are there
    assert {flow.table for flow in missing if flow.cookie == port_key('vif12.0').cookie} <= {
        REGISTRY}
    settle(bridge, scenario)
    assert flow_table.read_flows(bridge) == whole


def test_netdevs_that_are_gone_take_their_items_along(bridge):
    scenario = make_scenario(RED + BLUE)
    settle(bridge, scenario)
    left = make_scenario([RED[0]])
    reconcile(bridge, [RED[0]], left.around)
    reconcile(bridge, [RED[0]], left.around)
    assert flow_table.read_flows(bridge) == set(flows_of(left.plan()))


STRAY = make_flow(210, 7, ['ip'])


@pytest.mark.parametrize('stray', [
    pytest.param(Flow(REGISTRY, 1, 'metadata=0x8fffffff', NOTE + format_note('no|header'),
                      OWNER | HEADER | 0xfffffff), id='unreadable header'),
    pytest.param(Flow(REGISTRY, 1, 'metadata=0xf0000001', NOTE + format_note('a||b|c'),
                      OWNER | HEADER | 7 << 28 | 1), id='header of an unknown kind'),
    pytest.param(STRAY._replace(cookie=OWNER | 7 << 28 | 5), id='unknown kind'),
    pytest.param(STRAY._replace(cookie=Key(Kind.PORT, 0x1ffe00).cookie), id='no header'),
    pytest.param(STRAY._replace(cookie=Key(Kind.PEERS, 0x77).cookie), id='no such peers'),
    pytest.param(STRAY._replace(cookie=BASE.cookie), id='base'),
    pytest.param(STRAY._replace(cookie=port_key('vif11.0').cookie), id='own port'),
    pytest.param(STRAY._replace(cookie=port_key('vif12.0').cookie), id='port of another'),
    pytest.param(Flow(210, 32768, 'ip', 'drop', port_key('vif11.0').cookie), id='odd priority'),
])
def test_orphans_go(switch, bridge, stray):
    scenario = make_scenario(RED + BLUE)
    settle(bridge, scenario)
    whole = flow_table.read_flows(bridge)
    switch.ofctl('-O', 'OpenFlow14', 'add-flow', bridge, format_add(stray)[len('add '):])
    assert flow_table.read_flows(bridge) == whole | {stray}
    reconcile(bridge, scenario.vifs, scenario.around)
    assert flow_table.read_flows(bridge) == whole


@pytest.mark.parametrize('lost', flows_of(make_scenario(RED[:1]).plan())[::3])
def test_any_flow_of_a_bridge_comes_back_when_all_is_reconciled(bridge, lost):
    scenario = make_scenario(RED + BLUE)
    settle(bridge, scenario)
    whole = flow_table.read_flows(bridge)
    flow_table.apply_diff(bridge, FlowDiff(delete=tuple(
        flow for flow in whole if flow[:3] == lost[:3])))
    reconcile(bridge, scenario.vifs, scenario.around)
    assert flow_table.read_flows(bridge) == whole


def test_an_unreadable_header_takes_its_flows_along(switch, bridge):
    scenario = make_scenario(RED[:1])
    settle(bridge, scenario)
    whole = flow_table.read_flows(bridge)
    broken = Key(Kind.PORT, 0x1ffe00)
    for flow in (STRAY._replace(cookie=broken.cookie), Flow(
            REGISTRY, 1, 'metadata=0x%x' % (HEADER | broken.number),
            NOTE + format_note('of|another|version'), broken.cookie | HEADER)):
        switch.ofctl('-O', 'OpenFlow14', 'add-flow', bridge, format_add(flow)[len('add '):])
    reconcile(bridge, scenario.vifs, scenario.around)
    assert flow_table.read_flows(bridge) == whole


def test_routers_with_networks_of_their_own_do_not_collide_with_themselves(bridge):
    router = make_vif(11, LOCKED, '0.0.0.0/0 ::/0 10.9.0.1')
    result = reconcile(bridge, [router], make_scenario([router]).around)
    assert result.vifs == (router,)


@pytest.mark.parametrize('own, taken', [
    ('10.9.0.11', '10.9.0.11'), ('fd00:9::11', 'fd00:9::11'), ('0.0.0.0/0', '0.0.0.0/0')])
@pytest.mark.parametrize('mode', [LOCKED, ISOLATED])
def test_an_address_that_is_taken(switch, bridge, own, taken, mode):
    first = make_vif(11, ISOLATED, taken, groups='red')
    second = make_vif(12, mode, own, groups='blue')
    scenario = make_scenario([first, second])
    reconcile(bridge, [first], scenario.around)
    before = flow_table.read_flows(bridge)
    owner = [flow for flow in before if flow.cookie in (
        port_key('vif11.0').cookie, Key(Kind.ENDPOINT, 11 << 9).cookie)]
    result = reconcile(bridge, [second], scenario.around)
    assert result.vifs[0].policy.mode is Mode.QUARANTINED
    assert 'vif11.0' in result.vifs[0].policy.reason
    after = flow_table.read_flows(bridge)
    assert set(owner) <= after
    added = [flow for flow in after - before if flow.table != REGISTRY
             and flow.cookie == port_key('vif12.0').cookie]
    assert {(flow.table, flow.actions) for flow in added} == {
        (0, 'drop'), (SPOOFED, 'resubmit(,%d)' % FULL)}
    again = reconcile(bridge, [second], scenario.around)
    assert (again.added, again.deleted) == (0, 0)


@pytest.mark.parametrize('own', ['10.9.0.0/28 10.9.0.11', 'fd00:9::/64 fd00:9::11',
                                 '10.0.0.0/8 10.9.0.0/16 10.9.0.11'])
def test_own_networks_may_hold_own_addresses(bridge, own):
    vif = make_vif(11, own=own, groups='red')
    result = reconcile(bridge, [vif], make_scenario([vif]).around)
    assert result.vifs[0].policy.mode is ISOLATED, result.vifs[0].policy.reason


def test_same_address_on_another_vlan_is_no_conflict(bridge):
    scenario = SCENARIOS['vlan']
    settle(bridge, scenario)
    assert flow_table.read_flows(bridge) == set(flows_of(scenario.plan()))


def test_an_address_is_free_again_when_its_vif_is_gone(bridge):
    first, second = make_vif(11, own='10.9.0.11'), make_vif(12, own='10.9.0.11')
    both = make_scenario([first, second])
    reconcile(bridge, [first], both.around)
    reconcile(bridge, [second], both.around)
    result = reconcile(bridge, [second], make_scenario([second]).around)
    assert result.vifs[0].policy.mode is ISOLATED
    assert flow_table.read_flows(bridge) == set(flows_of(make_scenario([second]).plan()))


def test_mac_that_is_taken(bridge):
    thief = make_vif(13, own='10.9.0.13')._replace(mac=mac_of(11))
    scenario = make_scenario(RED + [thief])
    settle(bridge, make_scenario(RED))
    before = flow_table.read_flows(bridge)
    result = reconcile(bridge, [thief], scenario.around)
    assert mac_of(11) in result.vifs[0].policy.reason
    assert {flow for flow in before if flow.cookie in (
        port_key('vif11.0').cookie, Key(Kind.ENDPOINT, 11 << 9).cookie)} <= flow_table.read_flows(
            bridge)


def test_learned_flows_survive_a_refresh_and_go_with_the_vif(switch, bridge):
    scenario = make_scenario(RED)
    switch.add_ports(bridge, [('eth%d' % switch.bridges, 1, None)] + [
        ('vif%d.%d' % (number, switch.bridges), number, None) for number in (11, 12)])
    settle(bridge, scenario)
    plain = flow_table.read_flows(bridge)
    switch.trace(bridge, 'in_port=11,dl_src=%s,dl_dst=%s,icmp,nw_src=10.9.0.11,nw_dst=10.9.0.12'
                 % (mac_of(11), mac_of(12)), '-generate')
    learned = flow_table.read_flows(bridge) - plain
    assert learned == {flow for flow in learned_flows(scenario.plan())
                       if flow.cookie == port_key('vif11.0').cookie}
    result = reconcile(bridge, [RED[0]], scenario.around)
    assert (result.added, result.deleted) == (0, 0)
    reconcile(bridge, [RED[1]], scenario.around)
    assert flow_table.read_flows(bridge) == plain | learned
    reconcile(bridge, [RED[0]._replace(ports=())], make_scenario(RED[1:]).around)
    assert not flow_table.read_flows(bridge) & learned


@pytest.mark.parametrize('change', [
    make_policy(LOCKED, '10.9.0.11'), make_policy(QUARANTINED), make_policy(DISABLED),
    make_policy(UNLOCKED), make_policy(ISOLATED, '10.9.0.99', 'blue'),
    make_policy(ISOLATED, '10.9.0.11 fd00:9::11', 'red', 'external')])
def test_a_policy_that_changes(bridge, change):
    before = make_scenario(RED)
    settle(bridge, before)
    changed = RED[0]._replace(policy=change)
    after = make_scenario([changed, RED[1]])
    reconcile(bridge, [changed], after.around)
    settled = flow_table.read_flows(bridge)
    fresh = flows_of(after.plan())
    assert len(settled) == len(fresh)
    again = reconcile(bridge, [changed], after.around)
    assert (again.added, again.deleted) == (0, 0)


def test_groups_facts_and_members_that_change(bridge):
    settle(bridge, make_scenario(RED))
    changed = make_scenario(RED, groups={'red': rules('tcp/22 udp/53')},
                            members={'red': [member(1, '10.9.0.101')]})
    result = reconcile(bridge, [RED[0]], changed.around)
    assert result.added and flow_table.read_flows(bridge) == set(flows_of(changed.plan()))


@pytest.mark.parametrize('settings', [
    ['fail_mode=secure'], ['protocols=[OpenFlow10,OpenFlow14]'],
    ['protocols=[OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15]'], ['mcast_snooping_enable=true']])
def test_kinds_of_bridges(switch, settings):
    bridge = switch.add_bridge(*settings)
    scenario = make_scenario(RED)
    settle(bridge, scenario)
    assert flow_table.read_flows(bridge) == set(flows_of(scenario.plan()))
    switch.vsctl('del-br', bridge)


def test_random_drift_is_repaired_by_the_vifs_it_hit(bridge):
    scenario = make_scenario(RED + BLUE)
    settle(bridge, scenario)
    whole = flow_table.read_flows(bridge)
    dice = random.Random(1)
    for _ in range(5):
        vif = dice.choice(scenario.vifs)
        lost = dice.sample(own_flows(scenario.plan(), vif), 5)
        flow_table.apply_diff(bridge, FlowDiff(delete=tuple(lost)))
        reconcile(bridge, [vif], scenario.around)
        assert flow_table.read_flows(bridge) == whole


def test_the_header_of_flows_that_are_gone_is_not_put_back(bridge):
    """ovs-vswitchd restarted between our look and our change: to say they are there is a lie."""
    first, second = make_vif(11, own='10.9.0.11', groups='red'), make_vif(12, own='10.9.0.12')
    scenario = make_scenario([first, second])
    settle(bridge, scenario)
    plan = plan_bridge(parse_registry(flow_table.read_flows(bridge)), [second], scenario.around)
    flow_table.apply_diff(bridge, FlowDiff((), tuple(flow_table.read_flows(bridge))))
    reconciling.reconcile_all(bridge, plan, reconciling.compare_all(
        plan, flow_table.read_flows(bridge)))
    known = parse_registry(flow_table.read_flows(bridge))
    assert port_key('vif12.0') in known and port_key('vif11.0') not in known
    reconcile(bridge, [first], scenario.around)
    assert port_key('vif11.0') in parse_registry(flow_table.read_flows(bridge))
