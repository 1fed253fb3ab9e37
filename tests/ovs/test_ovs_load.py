"""What is written is what the switch has: no match widened, no action reworded."""
import pytest
from hypothesis import HealthCheck, given, settings

from core.policies import scenarios
from core.scenarios import SCENARIOS, flows_of
from ovs_switch import load
from xsisolate.dom0.ovs import flow_table
from xsisolate.openflow.flow import FlowDiff
from xsisolate.planner.plan import learned_flows


def clear(bridge):
    flow_table.apply_diff(bridge, FlowDiff(delete=tuple(flow_table.read_flows(bridge))))


@pytest.mark.parametrize('name', sorted(SCENARIOS))
def test_scenario_reads_back_as_written(bridge, name):
    items = SCENARIOS[name].plan()
    load(bridge, items)
    assert flow_table.read_flows(bridge) == set(flows_of(items))
    for key, item in items.items():
        assert flow_table.read_items(bridge, [key.cookie]) == item.flows
    clear(bridge)
    assert flow_table.read_flows(bridge) == frozenset()


@pytest.fixture(scope='module')
def lasting_bridge(switch):
    """A bridge for examples that clean up after themselves."""
    return switch.add_bridge()


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios())
def test_any_policy_reads_back_as_written(lasting_bridge, scenario):
    items = scenario.plan()
    clear(lasting_bridge)       # of an example that failed
    load(lasting_bridge, items)
    found, wanted = flow_table.read_flows(lasting_bridge), set(flows_of(items))
    assert sorted(wanted - found) == sorted(found - wanted) == []


@pytest.mark.parametrize('name', sorted(SCENARIOS))
def test_what_is_learned_reads_back_as_expected(bridge, name):
    """settled_flows foretells what the learn action makes; here as plain flows."""
    for flow in learned_flows(SCENARIOS[name].plan()):      # a tap's take a vif's place
        flow_table.apply_diff(bridge, FlowDiff(add=(flow,)))
        assert flow in flow_table.read_flows(bridge)


@pytest.mark.parametrize('flow', [
    'table=210,idle_timeout=60,hard_timeout=90,importance=3,priority=7,ip,actions=drop',
    'table=210,send_flow_rem,check_overlap,priority=7,ip,actions=drop',
    'table=210,reset_counts,no_packet_counts,no_byte_counts,priority=7,ip,actions=drop',
    'table=210,idle_timeout=60,send_flow_rem,ip,actions=drop',
    'table=210,ip,actions=drop', 'table=210,actions=NORMAL', 'priority=5,ip,actions=drop',
])
def test_strangers_options_are_understood(switch, bridge, flow):
    cookie = 'cookie=0x5849534f50000001,'
    switch.ofctl('-O', 'OpenFlow14', 'add-flow', bridge, cookie + flow)
    found, = flow_table.read_flows(bridge)
    assert found.match == ('ip' if ',ip,' in flow else '')
    assert found.priority == (7 if 'priority=7' in flow else 5 if 'priority=5' in flow else 32768)
    assert found.table == (210 if 'table' in flow else 0)
    clear(bridge)
    assert flow_table.read_flows(bridge) == frozenset()
