"""What is read of members on other hosts for a plan, and what is not."""
import os
from time import sleep

import pytest

from support.bridge_scenarios import QUARANTINED, RED, make_scenario, make_vif, member, registry_of
from xsisolate.dataplane import planning
from xsisolate.dom0.run_files.group_members import TICK_S, write_members
from xsisolate.errors import ConfigError
from xsisolate.planner.context import PlanContext

THERE = member(3, '10.9.0.77')


@pytest.fixture
def reads(root, monkeypatch):
    """Collect whose members are read."""
    found, read = [], planning.read_members

    def note(group):
        found.append(group)
        return read(group)
    monkeypatch.setattr(planning, 'read_members', note)
    return found


def plan(registry, vifs, thorough=False):
    around = make_scenario({vif.id: vif for vif in [*RED, *vifs]}.values()).around
    return planning.plan_bridge(registry, vifs, PlanContext(
        around.topology, around.ofports, around.config, thorough))


def group_of(plan):
    return next(item for item in plan.items.values() if item.name == 'group red')


def test_members_are_read_once_for_all_vifs_and_not_again(reads):
    write_members({'red': (THERE,), 'blue': (THERE,)})
    sleep(TICK_S)
    first = plan({}, RED)
    assert sorted(reads) == ['_roles', 'red'] and 'reg7=0xa09004d' in str(group_of(first).flows)
    registry = registry_of(first.items)
    again = plan(registry, RED[:1])
    assert len(reads) == 2 and group_of(again) == group_of(first)._replace(flows=None)
    plan(registry, RED, thorough=True)
    assert sorted(reads) == ['_roles', '_roles', 'red', 'red']


def test_a_file_that_changed_is_read(reads):
    registry = registry_of(plan({}, RED).items)
    write_members({'red': (THERE,)})
    assert 'reg7=0xa09004d' in str(group_of(plan(registry, RED[:1])).flows)


def test_a_network_that_comes_brings_the_members_of_all_groups(reads):
    write_members({'red': (member(3, '10.9.0.77', tag=5),)})
    sleep(TICK_S)
    first = plan({}, RED)
    newcomer = make_vif(15, own='10.9.0.15', groups='green', tag=5)
    found = plan(registry_of(first.items), [newcomer])
    assert sorted(reads) == ['_roles', '_roles', 'green', 'red', 'red']
    assert 'reg7=0xa09004d' in str(group_of(found).flows)


def test_who_wants_an_address_is_told_who_has_it_elsewhere(root):
    write_members({'red': (THERE,)})
    newcomer = make_vif(15, own='10.9.0.77', groups='red')
    vif, = plan(registry_of(plan({}, RED).items), [newcomer]).vifs
    assert vif.policy.mode is QUARANTINED and THERE.mac in vif.policy.reason


def test_who_has_it_already_keeps_it(reads):
    registry = registry_of(plan({}, RED).items)
    write_members({'red': (THERE._replace(addresses=RED[0].policy.addresses),)})
    assert plan(registry, RED[:1]).vifs[0] == RED[0]


def test_a_file_that_cannot_be_read_fails_the_plan(root):
    folder = root / 'run/xsisolate/groups'
    folder.mkdir(parents=True)
    (folder / 'red.json').write_text('{')
    with pytest.raises(ConfigError, match='red'):
        plan({}, RED)
    os.unlink(str(folder / 'red.json'))
    assert plan({}, RED).items
