"""Who may keep what the switch carries: those whom nobody knows any more, if it still does."""
import pytest

from support.bridge_scenarios import (DISABLED, ISOLATED, LOCKED, UNLOCKED, flows_of, make_scenario,
                                      make_vif, registry_of)
from xsisolate.planner.cookie import Kind, port_key
from xsisolate.planner.retention import is_intact, keeps_flows
from xsisolate.planner.vif import VifPort
from xsisolate.planner.vif_items import learned_flows

MODES = (LOCKED, ISOLATED, DISABLED)


def lost(vif):
    """Return the VIF as it is when xenstore knows nothing of its domain."""
    return vif._replace(vm_uuid='', mac='', networks=(), lost=True)


def planned(mode=ISOLATED, **more):
    """Return a VIF beside another, with what the switch carries for both."""
    vif = make_vif(11, mode, own='10.9.0.11', groups='red' * (mode is ISOLATED), **more)
    items = make_scenario([vif, make_vif(12, own='10.9.0.12', groups='red')]).plan()
    return vif, registry_of(items), frozenset(flows_of(items))


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('tap', [False, True])
def test_who_is_carried_keeps_it(mode, tap):
    vif, registry, flows = planned(mode, tap=tap)
    assert keeps_flows(registry, lost(vif)) and is_intact(registry, lost(vif), flows)
    assert not keeps_flows(registry, vif)       # it is known, and obeys what is known


def test_who_is_not_carried_keeps_nothing():
    vif, registry, _ = planned()
    assert not keeps_flows({}, lost(vif))
    assert not keeps_flows(registry, lost(make_vif(13)))
    assert not keeps_flows(registry, lost(vif)._replace(ports=()))
    moved = vif._replace(ports=(VifPort(vif.ports[0].name, 99),))
    assert not keeps_flows(registry, lost(moved))
    second = vif._replace(ports=vif.ports + (VifPort('tap11.0', 77),))
    assert not keeps_flows(registry, lost(second))
    free, registry, _ = planned(UNLOCKED)
    assert not keeps_flows(registry, lost(free))


@pytest.mark.parametrize('mode', MODES)
def test_each_flow_of_its_own_counts(mode):
    vif, registry, flows = planned(mode)
    mine = {port_key(vif.ports[0].name).cookie}
    mine |= {ref.cookie for ref in registry[port_key(vif.ports[0].name)].refs
             if ref.kind is Kind.ENDPOINT}
    own = [flow for flow in flows if flow.cookie in mine]
    assert len(own) > 3
    for flow in own:
        assert not is_intact(registry, vif, flows - {flow})
        assert not is_intact(registry, vif, flows - {flow} | {flow._replace(actions='NORMAL')})
    assert is_intact(registry, vif, flows - {flow for flow in flows if flow.cookie not in mine})
    assert is_intact(registry, vif, flows | learned_flows(registry))


def test_an_endpoint_without_header_is_not_intact():
    vif, registry, flows = planned()
    for key in [key for key in registry if key.kind is Kind.ENDPOINT
                and key in registry[port_key('vif11.0')].refs]:
        assert not is_intact({k: v for k, v in registry.items() if k != key}, vif, flows)
