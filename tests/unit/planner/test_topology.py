"""A bridge's ports, sorted."""
import pytest

from xsisolate.pipeline.delivery import Topology
from xsisolate.planner import topology
from xsisolate.planner.topology import Link, label_of, make_topology, vif_ofports

LOCAL = Link('xenbr0', 'xenbr0', 65534, True, None)
ETH0 = Link('eth0', 'eth0', 1, False, None)
VIF = Link('vif5.0', 'vif5.0', 7, False, 0)


def bond(name, ofport, active=False):
    return Link('bond0', name, ofport, False, None, active)


@pytest.mark.parametrize('links, topology', [
    pytest.param([], Topology(), id='empty'),
    pytest.param([LOCAL], Topology((), (('LOCAL', None),)), id='internal network'),
    pytest.param([LOCAL._replace(port='xenapi', interface='xenapi')],
                 Topology((), (('65534', None),)), id='not this bridge\'s own port'),
    pytest.param([ETH0, LOCAL], Topology(((1,),), (('LOCAL', None),)), id='one uplink'),
    pytest.param([bond('eth1', 2, True), bond('eth0', 1), bond('eth2', 3)],
                 Topology(((2, 1, 3),)), id='the active member of a bond first'),
    pytest.param([bond('eth1', 2), bond('eth0', 1)], Topology(((1, 2),)), id='no active member'),
    pytest.param([Link('patch', 'patch', 9, False, 4), ETH0], Topology(((1,), (9,))),
                 id='a patch port leads out'),
    pytest.param([VIF], Topology((), (('7', 0),)), id='access port'),
    pytest.param([VIF._replace(tag=30)], Topology((), (('7', 30),)), id='access port, VLAN'),
    pytest.param([VIF._replace(tag=None)], Topology((), (('7', None),)), id='trunk port'),
    pytest.param([VIF._replace(odd=True)], Topology(), id='a VLAN mode that we do not judge'),
    pytest.param([Link('tap5.0', 'tap5.0', 8, False, 0)], Topology((), (('8', 0),)), id='tap'),
    pytest.param([Link('xapi3', 'xapi3', 5, True, 30)], Topology((), (('5', 30),)),
                 id="a fake bridge's own port"),
    pytest.param([Link('vifx', 'vifx', 5, False, None)], Topology(((5,),)),
                 id='only looks like a VIF'),
])
def test_topology(links, topology):
    expected = topology._replace(label=label_of('xenbr0'))
    assert make_topology('xenbr0', links, False) == expected
    assert make_topology('xenbr0', list(reversed(links)), False) == expected


def test_dom0_is_the_uplink_of_its_own_network():
    local = LOCAL._replace(port='xenapi', interface='xenapi')
    found = make_topology('xenapi', [local, VIF], False)
    assert found.uplinks == ((65534,),) and found.others == (('7', 0),)
    assert make_topology('xenapi', [local, ETH0], False).uplinks == ((1,),)


@pytest.mark.parametrize('snooping', [True, False])
def test_snooping(snooping):
    assert make_topology('xenbr0', [], snooping).snooping is snooping


def test_vif_ofports():
    links = [LOCAL, ETH0, VIF, Link('tap5.0', 'tap5.0', 8, False, 0),
             Link('vif5.0.1', 'vif5.0.1', 10, False, 0), Link('vif', 'vif', 11, False, 0)]
    assert vif_ofports(links) == {'vif5.0': 7, 'tap5.0': 8}


def test_labels_tell_bridges_apart():
    """No bridge's bits are covered by those of three others, of as many as a pool has networks."""
    labels = [label_of(name) for name in ['xenbr0', 'xenbr1'] + ['xapi%d' % n for n in range(60)]]
    for own in labels:
        others = [label for label in labels if label != own]
        assert len(others) == len(labels) - 1
        assert not any(own & ~(one | two | three) == 0
                       for one, two, three in zip(others, others[7:], others[19:]))


def test_a_label_does_not_depend_on_bridges_that_do_not_collide():
    names = ['xenbr0', 'xenbr1', 'xapi1', 'xapi7']
    assert [label_of(name, names) for name in names] == [label_of(name) for name in names]


@pytest.mark.parametrize('bits, count', [(1, 60), (2, 30), (3, 8), (12, 60)])
def test_labels_that_collide_are_replaced(monkeypatch, bits, count):
    """With so few bits they do: then one of the bridges takes another, the same at each look."""
    monkeypatch.setattr(topology, 'LABEL_BITS', bits)
    names = ['xapi%d' % number for number in range(count)]
    plain = [label_of(name) for name in names]
    labels = [label_of(name, reversed(names)) for name in names]
    assert labels == [label_of(name, names) for name in names]
    assert bits > 1 or labels != plain
    assert not [one for one in labels for other in labels if one != other and not one & ~other]
    assert len(set(labels)) == count
    few = [label_of(name, names[:8]) for name in names[:8]]
    assert covered(few) == []


def covered(labels):
    """Return the labels that the others cover together."""
    found = []
    for own in labels:
        together = 0
        for other in labels:
            together |= other if other != own else 0
        found += [own] if not own & ~together else []
    return found
