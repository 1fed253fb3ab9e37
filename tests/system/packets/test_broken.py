"""With what a flow does changed, rows of the right family go wrong.

The loss of flows is test_mutants.py's; these let through what they should refuse.
"""
from typing import Tuple

import pytest
from xsisolate.pipeline import tables
from xsisolate.pipeline.terms import goto

from support.packets import attacks, connections
from support.packets.check_rows import play, select
from support.packets.broken_pipeline import broken, find_flows
from support.packets.shared_network import World

NAMES = ('red1', 'red2', 'red3', 'blue1', 'svc1', 'svc2', 'un', 'evil', 'locked', 'locked2', 'quar',
         'off', 'far', 'web', 'wide', 'nobody', 'ward')
pytestmark = pytest.mark.host(names=NAMES)      # a row can be sent in seconds
# What is broken: table, priority, a part of the match, the stage that follows then, and the
# family that notices.
MUTANTS: Tuple[Tuple[str, int, int, str, int, str], ...] = (
    ('ND with any hop limit', tables.GUARD, 150, 'icmp6', tables.BIND, 'neighbours'),
    ('ARP from any MAC', tables.BIND, 100, 'arp', tables.CLAIM, 'identity'),
    ('claims are not asked', tables.CLAIMED, 0, '', tables.SETTLE, 'identity'),
    ('nobody is asked on the way in', tables.INGRESS_ANSWER, 0, '', tables.ACCEPT, 'multicast'),
    ('nobody is asked on the way out', tables.EGRESS_ANSWER, 0, '', tables.INGRESS, 'gateway'),
    ('replies without a request', tables.REPLY, 0, '', tables.PASS, 'services'),
    ('TCP of no connection', tables.ACCEPT, 11, 'tcp', tables.PASS, 'connections'),
    ('answers of no connection', tables.ACCEPT, 20, 'ip', tables.PASS, 'connections'),
    ('fragments', tables.ACCEPT, 40, 'nw_frag', tables.PASS, 'connections'),
)


@pytest.mark.mutants
@pytest.mark.parametrize('what, table, priority, part, then, family', MUTANTS,
                         ids=[mutant[0].replace(' ', '-') for mutant in MUTANTS])
def test_a_broken_flow_is_noticed(world: World, what: str, table: int, priority: int, part: str,
                                  then: int, family: str) -> None:
    ovs = world.dom0.ovs
    world.prime()
    flows = find_flows(ovs, 'xenbr0', table, priority, part)
    with broken(ovs, 'xenbr0', flows, goto(then)):
        assert play(world, select({**attacks.FAMILIES, **connections.ATTACKS}, world, [family]))
