"""The corpus can fail: with one flow broken, rows of the right family do."""
import re
from typing import Iterator, Tuple

import pytest
from lab.sandbox import Sandbox
from xsisolate.core.flows import stages

from net import attacks
from net.playing import play, select
from net.world import World

NAMES = ('red1', 'red2', 'red3', 'blue1', 'svc1', 'svc2', 'un', 'evil', 'locked', 'locked2', 'quar',
         'off', 'far', 'web', 'wide', 'nobody')
# What is broken: table, priority, a part of the match, the actions then (None: no flow), and
# the family that notices.
MUTANTS: Tuple[Tuple[str, int, int, str, object, str], ...] = (
    ('tags are not refused', stages.GUARD, 200, 'vlan_tci', None, 'ethertypes'),
    ('fragments to everybody', stages.GUARD, 180, 'ipv6,dl_dst', None, 'headers'),
    ('cut header chains pass', stages.GUARD, 180, 'nw_proto=0', None, 'headers'),
    ('DHCP answers pass', stages.GUARD, 170, 'tp_dst=68', None, 'dhcp'),
    ('ND with any hop limit', stages.GUARD, 150, 'icmp6', 'resubmit(,%d)' % stages.BIND,
     'neighbours'),
    ('ARP from any MAC', stages.BIND, 100, 'arp', 'resubmit(,%d)' % stages.CLAIM, 'identity'),
    ('claims are not asked', stages.CLAIMED, 0, '', 'resubmit(,%d)' % stages.SETTLE, 'identity'),
    ('theft by a neighbour', stages.SOURCE, 50, 'dl_src=02:00:00:00:00:0c', None, 'theft'),
    ('the MAC of a stranger', stages.CLASSIFY, 35, '', None, 'theft'),
    ('the gateway from inside', stages.PARTY, 60, 'reg10=0', None, 'gateway'),
    ('nobody is asked on the way in', stages.INGRESS_ANSWER, 0, '', 'resubmit(,%d)' % stages.ACCEPT,
     'multicast'),
    ('nobody is asked on the way out', stages.EGRESS_ANSWER, 0, '',
     'resubmit(,%d)' % stages.INGRESS, 'gateway'),
    ('replies without a request', stages.REPLY, 0, '', 'resubmit(,%d)' % stages.PASS, 'services'),
    ('disabled may speak', 0, stages.PRIORITY_PORT, 'in_port=%(off)d', None, 'isolation'),
)


@pytest.fixture(scope='module')
def world(dom0: Sandbox) -> Iterator[World]:
    """A smaller network: each row of it can be sent in seconds."""
    yield World(dom0, names=NAMES)


@pytest.mark.mutants
@pytest.mark.parametrize('what, table, priority, part, actions, family', MUTANTS,
                         ids=[mutant[0].replace(' ', '-') for mutant in MUTANTS])
def test_a_broken_flow_is_noticed(world: World, what: str, table: int, priority: int, part: str,
                                  actions: object, family: str) -> None:
    ovs = world.dom0.ovs
    world.prime()
    part %= {'off': ovs.ofport(world.vms['off'].netdev())}
    found = [line for line in ovs.dump_flows('xenbr0')
             if re.search(r'\btable=%d\b' % table if table else r'^(?!.*\btable=)', line)
             and re.search(r'\bpriority=%d\b' % priority, line)
             and part in line.split(' actions=')[0]]
    assert found, 'no such flow to break'
    for line in found:
        head = re.sub(r'^cookie=\S+, ', '', line.split(' actions=')[0])
        if actions is None:
            ovs.ofctl('--strict', 'del-flows', 'xenbr0', head)
        else:
            ovs.ofctl('--strict', 'mod-flows', 'xenbr0', '%s actions=%s' % (head, actions))
    ovs.settle()
    try:
        assert play(world, select(attacks.FAMILIES, world, [family]))
    finally:
        for line in found:
            ovs.ofctl('add-flow', 'xenbr0', line)
        ovs.settle()
