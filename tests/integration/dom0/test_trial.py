"""What the self-test stands on: a bridge that nobody else sees, namespaces, frames, features."""
import os

import pytest
from sandbox.process import wait_until
from xsisolate.dataplane import switch_needs
from xsisolate.dom0.linux.frame_socket import FrameSocket
from xsisolate.dom0.linux.network_namespace import CURRENT, NetworkNamespace
from xsisolate.dom0.linux.process import run
from xsisolate.dom0.ovs import switch_features
from xsisolate.dom0.ovs.idl import Database
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.ovs.trial_bridge import (NOTE, TRIAL_BRIDGE, add_trial, delete_trial,
                                             find_trial, usual_datapath)
from xsisolate.errors import HostError

VIF = 'vif1.0'


@pytest.fixture
def trial(ovs):
    """The bridge, with a VIF's netdev on it."""
    with Ovsdb(trial=True) as db:
        add_trial(db, 'netdev')
        try:
            db.ensure_port(TRIAL_BRIDGE, VIF, {'attached-mac': '02:00:00:00:00:01'})
            yield db
        finally:
            delete_trial(db)


def test_it_is_made_and_found(ovs, trial):
    assert find_trial(trial) == (True, [VIF, TRIAL_BRIDGE])
    assert ovs.vsctl('get', 'Bridge', TRIAL_BRIDGE, 'external_ids') == '{%s="true"}' % NOTE
    assert ovs.vsctl('get', 'Bridge', TRIAL_BRIDGE, 'datapath_type') == 'netdev'
    assert ovs.vsctl('iface-to-br', VIF) == TRIAL_BRIDGE


def test_nobody_else_sees_it(ovs, trial):
    """Hooks, commands and the daemon; a label of another bridge does not depend on it either."""
    with Ovsdb() as db:
        for bridges in (db.read_bridges(), db.read_bridge_rows(), db.read_bridges_for([VIF])):
            assert [bridge.name for bridge in bridges] == ['xenbr0', 'xenbr1']
        assert db.read_bridges()[0].siblings == ('xenbr0', 'xenbr1')
        assert db.find_parent(TRIAL_BRIDGE) is None
        with pytest.raises(HostError, match='has no bridge'):
            db.ensure_port(TRIAL_BRIDGE, 'vif2.0', {})
    database = Database()
    wait_until(lambda: database.run() or database.is_complete, 'the database')
    assert sorted(database.bridges()) == ['xenbr0', 'xenbr1']


def test_it_sees_nobody_else(ovs, trial):
    ovs.vsctl('set-manager', 'tcp:127.0.0.1:6640')
    try:
        bridge, = trial.read_bridges()
        assert (bridge.name, bridge.managers) == (TRIAL_BRIDGE, ())
        assert [port.name for port in bridge.ports] == [VIF, TRIAL_BRIDGE]
        assert trial.find_parent('xenbr0') is None and trial.find_parent('xapi3') is None
    finally:
        ovs.vsctl('del-manager')


def test_a_bridge_of_that_name_that_others_made(ovs):
    ovs.add_bridge(TRIAL_BRIDGE)
    try:
        with Ovsdb() as db:
            assert find_trial(db) == (False, [TRIAL_BRIDGE])
    finally:
        ovs.vsctl('del-br', TRIAL_BRIDGE)
    with Ovsdb() as db:
        assert find_trial(db) is None


def test_a_datapath_that_cannot_be_made(ovs):
    with Ovsdb(trial=True) as db:
        try:
            with pytest.raises(HostError, match='ovs-vswitchd cannot make it'):
                add_trial(db, 'nosuch')
        finally:
            delete_trial(db)
        assert usual_datapath(db) == 'netdev'


def test_features(ovs, trial):
    assert switch_features.read_datapath(TRIAL_BRIDGE).startswith('netdev@')
    assert {'OpenFlow10', 'OpenFlow14'} <= set(switch_features.read_openflow_versions(TRIAL_BRIDGE))
    assert switch_features.read_datapath_features(TRIAL_BRIDGE)['CT label'] == 'Yes'
    assert switch_features.count_meters(TRIAL_BRIDGE) > 0
    assert switch_features.count_datapath_flows(TRIAL_BRIDGE) >= 0
    assert switch_needs.find_lacking('xenbr0') == ''
    assert all(need.found == 'Yes' for need in switch_needs.read_needs(TRIAL_BRIDGE))
    with pytest.raises(HostError, match='nosuch'):
        switch_features.read_openflow_versions('nosuch')
    with pytest.raises(HostError, match='on no datapath'):
        switch_features.read_datapath('nosuch')


def test_a_bridge_that_speaks_one_version(ovs, trial):
    ovs.vsctl('set', 'Bridge', TRIAL_BRIDGE, 'protocols=OpenFlow13')
    assert switch_features.read_openflow_versions(TRIAL_BRIDGE) == ('OpenFlow13',)


def test_what_lacks_is_named_with_what_follows(monkeypatch):
    monkeypatch.setattr(switch_needs, 'read_datapath_features',
                        lambda bridge: {'CT label': 'No', 'CT zone': 'Yes'})
    assert switch_needs.find_lacking('xenbr0') == (
        'CT label (it tells the connections of bridges apart): ' + switch_needs.CONSEQUENCE)


def test_frames_into_a_namespace_and_out_of_it(namespaces):
    here = os.readlink(CURRENT)
    namespace = NetworkNamespace()
    try:
        run(['ip', 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far',
             'netns', namespace.path])
        with namespace.entered():
            assert os.readlink(CURRENT) != here
            run(['ip', 'link', 'set', 'far', 'up'])
            far = FrameSocket('far')
        assert os.readlink(CURRENT) == here
        run(['ip', 'link', 'set', 'near', 'up'])
        near = FrameSocket('near')
        frame = bytes(12) + b'\x88\xb5' + b'a frame of an experiment'.ljust(46)
        near.send(frame)
        wait_until(lambda: frame in far.take(), 'the frame')    # among the kernel's own
        assert frame not in near.take(), 'what it sends itself it does not hear'
        near.close()
        far.close()
    finally:
        namespace.close()
    wait_until(lambda: not os.path.exists('/sys/class/net/near'), 'the end of both')


def test_a_namespace_cannot_be_had_without_root(namespaces, monkeypatch):
    from xsisolate.dom0.linux import network_namespace
    monkeypatch.setattr(network_namespace, 'CLONE_NEWNET', 0x1)       # no such flag of unshare
    before = os.readlink(CURRENT)
    with pytest.raises(HostError, match='unshare refuses a network namespace'):
        NetworkNamespace()
    assert os.readlink(CURRENT) == before


def test_no_such_device(namespaces):
    with pytest.raises(HostError, match='nosuch: cannot be listened to'):
        FrameSocket('nosuch')
