"""Leased addresses on a bridge: a fixed one wins, an older lease wins, nobody is quarantined."""
import pytest
from support.bridge_scenarios import (BRIDGE, ISOLATED, learning, make_scenario, make_vif, member,
                                      prefixes, registry_of)

from xsisolate.planner.item_facts import parse_facts
from xsisolate.planner.cookie import Kind
from xsisolate.planner.plan import disturbed
from xsisolate.policy.model import Mode

ADDRESS = '10.9.0.80'


def red(number, leased='', own='', **more):
    return learning(make_vif(number, own=own, groups='red', **more), leased)


def owners(items):
    """Return who owns what, and which of it is leased."""
    found = {}
    for item in items.values():
        if item.key.kind is Kind.ENDPOINT:
            facts = parse_facts(item)
            found[item.name.split(' ')[1][-2:]] = (set(facts.owners), set(facts.leased))
    return found


LEASED, OWNED, NOTHING = (prefixes(ADDRESS), prefixes(ADDRESS)), (prefixes(ADDRESS), set()), (
    set(), set())


@pytest.mark.parametrize('first', [11, 13])
def test_a_fixed_address_wins_whichever_is_first(first):
    """On a bridge that is empty, and on one that carries the lease."""
    scenario = make_scenario([red(12, ADDRESS), make_vif(first, own=ADDRESS, groups='red')])
    before = make_scenario([red(12, ADDRESS)]).plan()
    for registry in ({}, registry_of(before)):
        plan = scenario.plan_whole(registry)
        assert owners(plan.items)['0c'] == NOTHING and owners(plan.items)['%02x' % first] == OWNED
        assert {vif.policy.mode for vif in plan.vifs} == {ISOLATED}
        assert [vif.policy.addresses for vif in plan.vifs if vif.id.domid == 12] == [frozenset()]


def test_the_one_with_the_lease_is_planned_anew():
    """A hook that plugs the fixed one does not leave the lease where it is."""
    registry = registry_of(make_scenario([red(12, ADDRESS), red(14, '10.9.0.81')]).plan())
    fixed = make_vif(13, own=ADDRESS, groups='red')
    ofports = {'vif12.0': 12, 'vif13.0': 13, 'vif14.0': 14}
    assert [vif.domid for vif in disturbed(registry, fixed, ofports)] == [12]
    assert not disturbed(registry, red(13, ADDRESS), ofports)


def test_an_older_lease_wins():
    registry = registry_of(make_scenario([red(12, ADDRESS)]).plan())
    plan = make_scenario([red(11, ADDRESS), red(12, ADDRESS)]).plan_whole(registry)
    assert owners(plan.items) == {'0c': LEASED, '0b': NOTHING}
    assert all(vif.policy.mode is ISOLATED for vif in plan.vifs)


def test_on_another_network_it_is_another_address():
    plan = make_scenario([red(12, ADDRESS), make_vif(13, own=ADDRESS, tag=10)]).plan_whole()
    assert owners(plan.items) == {'0c': LEASED, '0d': OWNED}


def test_a_lease_that_a_member_elsewhere_has_is_not_owned():
    elsewhere = {'red': [member(1, ADDRESS)]}
    plan = make_scenario([red(12, ADDRESS)], members=elsewhere).plan_whole()
    assert owners(plan.items) == {'0c': NOTHING} and plan.vifs[0].policy.mode is ISOLATED


def test_a_fixed_address_wins_over_a_lease_elsewhere():
    leased = member(1, ADDRESS)._replace(leased=prefixes(ADDRESS))
    fixed = make_vif(12, own=ADDRESS, groups='red')
    plan = make_scenario([fixed], members={'red': [leased]}).plan_whole()
    assert owners(plan.items) == {'0c': OWNED}
    refused = make_scenario([fixed], members={'red': [member(1, ADDRESS)]}).plan_whole()
    assert refused.vifs[0].policy.mode is Mode.QUARANTINED


def test_a_vif_without_words_has_no_flow_of_them():
    plain = make_scenario([make_vif(12, own=ADDRESS, groups='red')]).plan()
    assert not [flow for item in plain.values() for flow in item.flows or ()
                if 'controller' in flow.actions]
    assert BRIDGE and [flow for item in make_scenario([red(12)]).plan().values()
                       for flow in item.flows or () if 'controller' in flow.actions]
