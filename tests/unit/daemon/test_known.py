"""What the daemon knows: which bridges a group concerns, and what goes with a port."""
from typing import Dict, Optional

import pytest

from xsisolate.daemon.known import KnownHost
from xsisolate.dom0.ovs.idl import BridgeState
from xsisolate.planner.vif import Vif, VifPort
from xsisolate.policy.model import HOLDERS, EffectivePolicy, Group, Mode
from xsisolate.policy.resolve import quarantine
from xsisolate.vif_id import VifId

ONE, TWO = VifId(1, 0), VifId(2, 0)
REACH = {'red': Group(reach=frozenset({'green'})), 'green': Group(reach=frozenset({'red'}))}


def states(**netdevs: str) -> Dict[str, BridgeState]:
    """Return bridges, each with one VIF."""
    return {name: BridgeState((), {netdev: ()} if netdev else {})
            for name, netdev in netdevs.items()}


def programmed(vif_id: VifId, *groups: str, policy: Optional[EffectivePolicy] = None) -> Vif:
    """Return an isolated VIF, or one with another policy."""
    return Vif(vif_id, 'uuid', policy=policy or EffectivePolicy(
        Mode.ISOLATED, groups=frozenset(groups)), ports=(VifPort(vif_id.vif, 1),))


@pytest.fixture
def host() -> KnownHost:
    """Two bridges with a VIF each, and one without."""
    host = KnownHost()
    host.take(states(a='vif1.0', b='vif2.0', c=''))
    return host


def test_a_vif_that_is_not_known_yet_may_be_in_any_group(host: KnownHost) -> None:
    assert host.bridges_with({'red'}) == ['a', 'b']
    host.vif(ONE).note(programmed(ONE, 'blue'), {})
    assert host.bridges_with({'red'}) == ['b']


def test_a_group_concerns_its_bridges_only(host: KnownHost) -> None:
    host.vif(ONE).note(programmed(ONE, 'red'), {})
    host.vif(TWO).note(programmed(TWO, 'blue'), {})
    assert host.bridges_with({'red'}) == ['a'] and host.bridges_with({'blue', 'x'}) == ['b']
    assert host.bridges_with({'red', 'blue'}) == ['a', 'b'] and host.bridges_with({'x'}) == []


def test_a_group_that_is_reached_concerns_a_bridge(host: KnownHost) -> None:
    for vif_id in (ONE, TWO):
        host.vif(vif_id).note(programmed(vif_id, 'red' if vif_id == ONE else 'blue'), REACH)
    assert host.bridges_with({'green'}) == ['a']


def test_members_elsewhere_may_be_why_a_vif_is_in_quarantine(host: KnownHost) -> None:
    host.vif(ONE).note(programmed(ONE, policy=quarantine('its address is taken')), {})
    host.vif(TWO).note(programmed(TWO, 'blue'), {})
    assert host.bridges_with({'red'}) == ['a']


def test_those_that_hold_roles_elsewhere_concern_each_bridge_with_a_managed_vif(
        host: KnownHost) -> None:
    host.vif(ONE).note(programmed(ONE), {})
    host.vif(TWO).note(programmed(TWO, policy=EffectivePolicy(Mode.UNLOCKED)), {})
    assert host.bridges_with({HOLDERS}) == ['a']
    host.vif(TWO).note(programmed(TWO, policy=EffectivePolicy(Mode.LOCKED)), {})
    assert host.bridges_with({HOLDERS}) == ['a', 'b']


def test_a_flow_change_leaves_the_groups_known(host: KnownHost) -> None:
    for vif_id in (ONE, TWO):
        host.vif(vif_id).note(programmed(vif_id, 'red'), {})
    host.distrust()
    assert host.vif(ONE).programmed is None and host.bridges_with({'blue'}) == []


def test_what_is_gone_is_forgotten_and_what_moves_is_not(host: KnownHost) -> None:
    for vif_id in (ONE, TWO):
        host.vif(vif_id).note(programmed(vif_id, 'red'), {})
    known, bridge = host.vif(ONE), host.bridges['b']
    host.take(states(b='vif1.0'))
    assert host.bridges == {'b': bridge} and host.vifs == {ONE: known}
    assert host.bridges_with({'red'}) == ['b']


def test_a_reason_is_new_once(host: KnownHost) -> None:
    shut = programmed(ONE, policy=quarantine('why'))
    assert [host.vif(ONE).note(vif, {}) for vif in (
        shut, shut, programmed(ONE, 'red'), shut)] == [True, False, False, True]


def test_it_is_noted_what_a_permissive_vif_would_be(host: KnownHost) -> None:
    known = host.vif(ONE)
    assert not known.note(programmed(ONE, policy=EffectivePolicy(
        Mode.UNLOCKED, would_be='quarantined: why')), {})
    assert known.would_be == 'quarantined: why'
    known.note(programmed(ONE, 'red'), {})
    assert not known.would_be


def test_dead_ports_are_seen_for_a_while(host: KnownHost) -> None:
    bridge = host.bridges['a']
    assert not bridge.see_dead(['vif1.0'], 10, 0.5)
    assert bridge.see_dead(['vif1.0', 'vif3.0'], 10.6, 0.5) == {'vif1.0'}
    assert not bridge.see_dead([], 11, 0.5) and not bridge.see_dead(['vif1.0'], 12, 0.5)
