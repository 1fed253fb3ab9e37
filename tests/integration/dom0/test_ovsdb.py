"""Open vSwitch's database, on a real ovsdb-server and ovs-vswitchd."""
import json
import os
import time

import pytest
from sandbox.process import ip
from xsisolate.dom0.ovs import ovsdb as module
from xsisolate.dom0.ovs.jsonrpc import Conflict
from xsisolate.dom0.ovs.ovsdb import Bridge, Ovsdb, Port, find_bridge
from xsisolate.dom0.ovs.ovsdb_rows import PortNumber
from xsisolate.errors import HostError

IDS = {'xs-vif-uuid': '1f0c9b0e', 'attached-mac': 'ba:1c:2f:5e:90:01'}


@pytest.fixture
def db(ovs):
    with Ovsdb() as connection:
        yield connection


def place(db, name):
    """Return the bridge and port of an interface, as we read them."""
    found = [(bridge.name, port) for bridge in db.read_bridges() for port in bridge.ports
             if port.name == name]
    return found[0] if found else None


def written(ovs):
    """Return a mark that moves with every change of the database."""
    return os.stat('/etc/openvswitch/conf.db').st_size


# --- reading -------------------------------------------------------------------------------


def test_bridges(ovs, db):
    ovs.vsctl('add-port', 'xenbr0', 'vif1.0', 'tag=7', 'trunks=10,11', 'vlan_mode=native-tagged',
              'external_ids:a=port', '--', 'set', 'Interface', 'vif1.0', 'external_ids:b="x, \\"y"')
    ovs.vsctl('set', 'Bridge', 'xenbr0', 'protocols=OpenFlow13,OpenFlow10',
              'mcast_snooping_enable=true', 'external_ids:c=d', 'other_config:e=f')
    try:
        xenbr0, xenbr1 = db.read_bridges()
    finally:
        ovs.vsctl('clear', 'Bridge', 'xenbr0', 'protocols', 'external_ids', '--',
                  'set', 'Bridge', 'xenbr0', 'mcast_snooping_enable=false')
        ovs.vsctl('remove', 'Bridge', 'xenbr0', 'other_config', 'e')
    assert xenbr0._replace(ports=()) == Bridge(
        name='xenbr0', uuid=ovs.vsctl('get', 'Bridge', 'xenbr0', '_uuid'),
        fail_mode='standalone', protocols=('OpenFlow10', 'OpenFlow13'),
        mcast_snooping=True, external_ids={'c': 'd'}, other_config={'e': 'f'}, ports=(),
        siblings=('xenbr0', 'xenbr1'))
    assert xenbr1.siblings == xenbr0.siblings
    assert [bridge.siblings for bridge in db.read_bridges_for(['vif1.0'])] == [xenbr0.siblings] * 2
    assert (xenbr1.name, xenbr1.protocols, xenbr1.mcast_snooping) == ('xenbr1', (), False)
    vif, xapi3, local = xenbr0.ports
    assert vif._replace(interfaces=()) == Port(
        name='vif1.0', tag=7, trunks=(10, 11), vlan_mode='native-tagged', fake_bridge=False,
        bond_active_slave=None, interfaces=(), external_ids={'a': 'port'})
    interface, = vif.interfaces
    assert interface.ofport == ovs.ofport('vif1.0') and interface.error is None
    assert interface.external_ids == {'b': 'x, "y'}
    assert interface.mac_in_use in ovs.vsctl('get', 'Interface', 'vif1.0', 'mac_in_use')
    assert (xapi3.name, xapi3.fake_bridge, xapi3.tag) == ('xapi3', True, 120)
    assert (local.name, local.interfaces[0].type) == ('xenbr0', 'internal')


def test_bond(ovs, db):
    ovs.vsctl('add-bond', 'xenbr0', 'bond0', 'vif1.0', 'vif2.0')
    try:
        _, bond = place(db, 'bond0')
        assert [interface.name for interface in bond.interfaces] == ['vif1.0', 'vif2.0']
    finally:
        ovs.vsctl('del-port', 'bond0')


def test_dead_interface(ovs, db):
    ovs.vsctl('add-port', 'xenbr0', 'vif9.0')
    interface = place(db, 'vif9.0')[1].interfaces[0]
    assert interface.ofport == -1 and 'No such device' in interface.error


def test_large_reply(ovs, db):
    """More than one piece of the socket's."""
    ovs.vsctl('set', 'Bridge', 'xenbr1', *['external_ids:k%d=%s' % (n, 'v' * 1000)
                                           for n in range(1000)])
    try:
        assert len(db.read_bridges()[1].external_ids) == 1000
    finally:
        ovs.vsctl('clear', 'Bridge', 'xenbr1', 'external_ids')


def test_find_bridge(db):
    bridges = db.read_bridges()
    assert find_bridge(bridges, 'xenbr1') == (bridges[1], None)
    assert find_bridge(bridges, 'xapi3') == (bridges[0], 120)
    assert find_bridge(bridges, 'virbr0') is None
    db.ensure_port('xenbr1', 'vif1.0', {})
    assert find_bridge(db.read_bridges(), 'vif1.0') is None
    assert find_bridge((), 'xenbr0') is None


def test_of_other_vifs_only_numbers_are_read(ovs, db):
    """They cannot be taken for ports without trunks and external_ids."""
    db.ensure_port('xapi3', 'vif1.0', IDS, [10])
    number = db.ensure_port('xapi3', 'vif2.0', IDS, [10])
    bridge, other = db.read_bridges_for(['vif1.0'])
    assert bridge.others == (PortNumber('vif2.0', 120, number),) and not other.others
    assert [port.name for port in bridge.ports] == ['vif1.0', 'xapi3', 'xenbr0']
    whole = db.read_bridges()[0]
    assert not whole.others and db.read_ports(bridge, ['vif2.0']) == whole


@pytest.mark.parametrize('name, parent', [('xenbr1', 'xenbr1'), ('xapi3', 'xenbr0'),
                                          ('vif1.0', None), ('virbr0', None)])
def test_the_real_bridge_behind_a_name(db, name, parent):
    db.ensure_port('xenbr0', 'vif1.0', {})
    found = find_bridge(db.read_bridges(), name)
    assert db.find_parent(name) == parent == (found and found.bridge.name)


# --- ensure_port ---------------------------------------------------------------------------


@pytest.mark.parametrize('network, tag', [('xenbr0', None), ('xapi3', 120)])
def test_new_port(ovs, db, network, tag):
    ofport = db.ensure_port(network, 'vif1.0', IDS)
    assert ofport == ovs.ofport('vif1.0') > 0
    bridge, port = place(db, 'vif1.0')
    assert (bridge, port.tag, port.trunks) == ('xenbr0', tag, ())
    assert port.interfaces[0].external_ids == IDS
    assert ovs.vsctl('iface-to-br', 'vif1.0') == network


def test_new_port_with_trunks(db):
    db.ensure_port('xapi3', 'vif1.0', {}, [11, 10])
    port = place(db, 'vif1.0')[1]
    assert (port.tag, port.trunks) == (120, (10, 11))


def test_second_time_nothing_is_written(ovs, db, monkeypatch):
    wanted = ('xapi3', 'vif1.0', IDS, [10, 11])
    first = db.ensure_port(*wanted)
    before, asked, transact = written(ovs), [], db.transact
    monkeypatch.setattr(db, 'transact', lambda *args: asked.extend(*args) or transact(*args))
    assert db.ensure_port(*wanted) == first
    assert db.ensure_port(*wanted[:3]) == first         # trunks are not asked for
    assert db.ensure_port('xapi3', 'vif1.0', {}, [11, 10]) == first
    assert written(ovs) == before
    assert {operation['op'] for operation in asked} == {'select'}


def test_port_of_the_stock_script_is_adopted(ovs, db):
    ovs.vsctl('add-port', 'xapi3', 'vif1.0', '--', 'set', 'Interface', 'vif1.0',
              'external_ids:foreign=stays', 'external_ids:attached-mac=old')
    ofport = ovs.ofport('vif1.0')
    assert db.ensure_port('xapi3', 'vif1.0', IDS) == ofport
    assert place(db, 'vif1.0')[1].interfaces[0].external_ids == dict(IDS, foreign='stays')


def test_trunks_change_and_nothing_else(ovs, db):
    ofport = db.ensure_port('xenbr0', 'vif1.0', IDS, [10, 11])
    ovs.vsctl('set', 'Port', 'vif1.0', 'external_ids:foreign=stays', 'vlan_mode=trunk')
    assert db.ensure_port('xenbr0', 'vif1.0', IDS, [12]) == ofport
    port = place(db, 'vif1.0')[1]
    assert (port.trunks, port.external_ids, port.vlan_mode) == ((12,), {'foreign': 'stays'},
                                                                'trunk')
    assert db.ensure_port('xenbr0', 'vif1.0', IDS, []) == ofport
    assert place(db, 'vif1.0')[1].trunks == ()


def test_move_to_another_vlan_of_the_bridge_keeps_the_number(ovs, db):
    ofport = db.ensure_port('xapi3', 'vif1.0', IDS)
    assert db.ensure_port('xenbr0', 'vif1.0', IDS) == ofport
    assert place(db, 'vif1.0')[1].tag is None
    assert db.ensure_port('xapi3', 'vif1.0', IDS) == ofport
    assert place(db, 'vif1.0')[1].tag == 120


def test_move_to_another_bridge(ovs, db):
    db.ensure_port('xapi3', 'vif1.0', IDS, [10])
    ovs.vsctl('set', 'Interface', 'vif1.0', 'external_ids:foreign=stays')
    ofport = db.ensure_port('xenbr1', 'vif1.0', dict(IDS, new='x'))
    bridge, port = place(db, 'vif1.0')
    assert (bridge, port.tag, port.trunks) == ('xenbr1', None, (10,))
    assert port.interfaces[0].external_ids == dict(IDS, foreign='stays', new='x')
    assert ovs.ofctl('show', 'xenbr1').count('%d(vif1.0)' % ofport) == 1
    assert 'vif1.0' not in ovs.ofctl('show', 'xenbr0')
    assert ovs.ofport('vif1.0') == ofport


def test_two_bridges_number_their_ports_apart(ovs, db):
    """The number that is returned is the new bridge's, not the one the row still had."""
    db.ensure_port('xenbr1', 'vif2.0', {})
    for network in ('xenbr0', 'xenbr1', 'xapi3', 'xenbr1', 'xenbr0'):
        ofport = db.ensure_port(network, 'vif1.0', {})
        bridge = 'xenbr1' if network == 'xenbr1' else 'xenbr0'
        assert ' %d(vif1.0)' % ofport in ovs.ofctl('show', bridge)


def test_no_such_bridge(ovs, db):
    before = written(ovs)
    with pytest.raises(HostError, match='no bridge virbr0'):
        db.ensure_port('virbr0', 'vif1.0', IDS)
    assert written(ovs) == before


def test_missing_netdev_is_reported_and_leaves_no_port(ovs, db):
    began = time.monotonic()
    with pytest.raises(HostError, match=r'port vif9\.0: .*No such device'):
        db.ensure_port('xenbr0', 'vif9.0', IDS)
    assert time.monotonic() - began < 2
    assert place(db, 'vif9.0') is None


def test_dead_port_that_was_there_stays_and_revives(ovs, db):
    ovs.vsctl('add-port', 'xenbr0', 'vif9.0')
    with pytest.raises(HostError, match='No such device'):
        db.ensure_port('xenbr0', 'vif9.0', IDS)
    assert place(db, 'vif9.0')
    ip(['link add vif9.0 type veth peer name peer9'])
    try:
        assert db.ensure_port('xenbr0', 'vif9.0', IDS) == ovs.ofport('vif9.0') > 0
    finally:
        ovs.vsctl('del-port', 'vif9.0')
        ip(['link del vif9.0'])


def test_netdev_came_back_as_another(ovs, db):
    """The guest's driver registers, unregisters and registers again."""
    db.ensure_port('xenbr0', 'vif1.0', IDS)
    ip(['link del vif1.0', 'link add vif1.0 type veth peer name peer1'])
    assert ' %d(vif1.0)' % db.ensure_port('xenbr0', 'vif1.0', IDS) in ovs.ofctl('show', 'xenbr0')


def test_without_vswitchd_no_port_remains(ovs, db):
    ovs.stop_vswitchd()
    try:
        began = time.monotonic()
        with pytest.raises(HostError, match='ovs-vswitchd did not'):
            db.ensure_port('xenbr0', 'vif1.0', IDS, deadline=0.3)
        assert time.monotonic() - began < 1
        assert place(db, 'vif1.0') is None
    finally:
        ovs.start_vswitchd()


def test_port_that_vswitchd_has_not_seen_has_no_number(ovs, db):
    ovs.stop_vswitchd()
    try:
        ovs.vsctl('--no-wait', 'add-port', 'xenbr0', 'vif1.0')
        with pytest.raises(HostError, match='ovs-vswitchd did not'):
            db.ensure_port('xenbr0', 'vif1.0', {}, deadline=0.3)
        assert place(db, 'vif1.0')
    finally:
        ovs.start_vswitchd()
    assert db.ensure_port('xenbr0', 'vif1.0', {}) == ovs.ofport('vif1.0') > 0


def test_text_that_needs_escaping(db):
    ids = {'xsisolate-error': 'say "no" \\ ü \n\x00 = , ; \U0001f600'.replace('\x00', '')}
    db.ensure_port('xenbr0', 'vif1.0', ids)
    assert place(db, 'vif1.0')[1].interfaces[0].external_ids == ids


# --- others change the database too ----------------------------------------------------------


def meddle(monkeypatch, change, times=1):
    """Have `change` happen between our look and our change."""
    plan, left = module.plan_port, [times]

    def planned(*args):
        if left[0]:
            left[0] -= 1
            change()
        return plan(*args)
    monkeypatch.setattr(module, 'plan_port', planned)


@pytest.mark.parametrize('theirs', [
    ('add-port', 'xenbr1', 'vif1.0'),
    ('add-port', 'xapi3', 'vif1.0'),
    ('set', 'Port', 'xapi3', 'tag=121'),
])
def test_somebody_was_faster_with_a_new_port(ovs, db, monkeypatch, theirs):
    meddle(monkeypatch, lambda: ovs.vsctl(*theirs))
    try:
        ofport = db.ensure_port('xapi3', 'vif1.0', IDS)
        tag = int(ovs.vsctl('get', 'Port', 'xapi3', 'tag'))
    finally:
        ovs.vsctl('set', 'Port', 'xapi3', 'tag=120')
    bridge, port = place(db, 'vif1.0')
    assert (bridge, port.tag, port.interfaces[0].ofport) == ('xenbr0', tag, ofport)
    assert port.interfaces[0].external_ids == IDS


@pytest.mark.parametrize('theirs', [
    ('del-port', 'vif1.0'),
    ('del-port', 'vif1.0', '--', 'add-port', 'xenbr1', 'vif1.0'),
    ('set', 'Port', 'vif1.0', 'tag=9'),
    ('set', 'Port', 'vif1.0', 'trunks=10'),
    ('set', 'Interface', 'vif1.0', 'external_ids:attached-mac=theirs'),
])
def test_somebody_was_faster_with_an_old_port(ovs, db, monkeypatch, theirs):
    db.ensure_port('xenbr0', 'vif1.0', {'attached-mac': 'old'})
    meddle(monkeypatch, lambda: ovs.vsctl(*theirs))
    ofport = db.ensure_port('xapi3', 'vif1.0', IDS, [])
    bridge, port = place(db, 'vif1.0')
    assert (bridge, port.tag, port.trunks) == ('xenbr0', 120, ())
    assert port.interfaces[0].external_ids == IDS
    assert port.interfaces[0].ofport == ofport


def test_foreign_keys_written_meanwhile_stay(ovs, db, monkeypatch):
    db.ensure_port('xenbr0', 'vif1.0', {})
    meddle(monkeypatch, lambda: ovs.vsctl('set', 'Interface', 'vif1.0', 'external_ids:their=key'))
    db.ensure_port('xenbr0', 'vif1.0', IDS)
    assert place(db, 'vif1.0')[1].interfaces[0].external_ids == dict(IDS, their='key')


def test_somebody_moved_the_port_meanwhile(ovs, db, monkeypatch):
    """The row would be on two bridges at once."""
    ovs.add_bridge('xenbr2')
    db.ensure_port('xenbr1', 'vif1.0', IDS)
    row = ovs.vsctl('get', 'Port', 'vif1.0', '_uuid')
    meddle(monkeypatch, lambda: ovs.vsctl('remove', 'Bridge', 'xenbr1', 'ports', row, '--',
                                          'add', 'Bridge', 'xenbr2', 'ports', row))
    try:
        ofport = db.ensure_port('xapi3', 'vif1.0', IDS)
        assert [bridge.name for bridge in db.read_bridges() for port in bridge.ports
                if port.name == 'vif1.0'] == ['xenbr0']
        assert ' %d(vif1.0)' % ofport in ovs.ofctl('show', 'xenbr0')
    finally:
        ovs.vsctl('del-br', 'xenbr2')


def test_bridge_goes_away_meanwhile(ovs, db, monkeypatch):
    ovs.add_bridge('xenbr2')
    meddle(monkeypatch, lambda: ovs.vsctl('del-br', 'xenbr2'))
    with pytest.raises(HostError, match='no bridge xenbr2'):
        db.ensure_port('xenbr2', 'vif1.0', IDS)
    assert place(db, 'vif1.0') is None


def test_we_give_up_when_it_never_ends(ovs, db, monkeypatch):
    db.ensure_port('xenbr0', 'vif1.0', {})
    tags = iter(range(1, 100))
    meddle(monkeypatch, lambda: ovs.vsctl('set', 'Port', 'vif1.0', 'tag=%d' % next(tags)), 100)
    with pytest.raises(Conflict):
        db.ensure_port('xapi3', 'vif1.0', IDS)


# --- the smaller verbs -----------------------------------------------------------------------


def test_delete_port(ovs, db):
    db.ensure_port('xapi3', 'vif1.0', IDS)
    db.ensure_port('xapi3', 'vif2.0', IDS)
    assert db.delete_port('vif1.0') is True
    assert place(db, 'vif1.0') is None and place(db, 'vif2.0')
    assert '"vif1.0"' not in ovs.vsctl('--columns=name', 'list', 'Interface')
    ovs.vsctl('set', 'Open_vSwitch', '.', 'external_ids:x=y')   # waits for ovs-vswitchd
    assert 'vif1.0' not in ovs.ofctl('show', 'xenbr0')


def test_delete_port_of_one_bridge_only(ovs, db):
    db.ensure_port('xapi3', 'vif1.0', IDS)
    db.delete_port('vif1.0', 'xenbr1')
    assert place(db, 'vif1.0')
    db.delete_port('vif1.0', 'xenbr0')
    assert place(db, 'vif1.0') is None


def test_delete_port_that_is_not_there(ovs, db):
    before = written(ovs)
    assert db.delete_port('vif1.0') is False
    assert written(ovs) == before


def test_delete_port_of_a_device_that_is_gone(ovs, db):
    ovs.vsctl('add-port', 'xenbr0', 'vif9.0')
    assert db.delete_port('vif9.0') is True
    assert place(db, 'vif9.0') is None


def test_delete_port_without_vswitchd(ovs, db):
    db.ensure_port('xenbr0', 'vif1.0', IDS)
    ovs.stop_vswitchd()
    try:
        assert db.delete_port('vif1.0') is True
    finally:
        ovs.start_vswitchd()


def test_set_external_ids(ovs, db):
    db.ensure_port('xenbr0', 'vif1.0', {'a': '1', 'b': '2', 'foreign': 'stays'})
    db.set_external_ids('vif1.0', {'a': '3', 'b': None, 'c': '4', 'missing': None})
    assert place(db, 'vif1.0')[1].interfaces[0].external_ids == {'a': '3', 'c': '4',
                                                                 'foreign': 'stays'}
    before = written(ovs)
    db.set_external_ids('vif1.0', {'a': '3', 'b': None})
    assert written(ovs) == before


def test_wait_for_link_down(ovs, db, monkeypatch):
    """What ovs-vswitchd remembers of a link it writes back when the port moves."""
    db.ensure_port('xenbr0', 'vif1.0', {})
    ip(['link set vif1.0 up'])
    ovs.vsctl('wait-until', 'Interface', 'vif1.0', 'admin_state=up')
    monkeypatch.setattr(module, 'LINK_TIMEOUT_MS', 100)
    with pytest.raises(HostError, match=r'vif1\.0'):
        db.wait_for_link_down('vif1.0')
    monkeypatch.setattr(module, 'LINK_TIMEOUT_MS', 3000)
    ip(['link set vif1.0 down'])
    db.wait_for_link_down('vif1.0')
    assert ovs.vsctl('get', 'Interface', 'vif1.0', 'admin_state') == 'down'
    db.wait_for_link_down('vif9.0')     # on no bridge: nobody remembers anything


def test_set_external_ids_of_nothing(db):
    with pytest.raises(HostError, match=r'no interface vif9\.0'):
        db.set_external_ids('vif9.0', {'a': '1'})


@pytest.mark.parametrize('there, after, told', [
    ('[]', [], False),
    ('OpenFlow11', ['OpenFlow10', 'OpenFlow11', 'OpenFlow13'], True),
    ('OpenFlow10,OpenFlow11', ['OpenFlow10', 'OpenFlow11', 'OpenFlow13'], True),
    ('OpenFlow10,OpenFlow13,OpenFlow15', ['OpenFlow10', 'OpenFlow13', 'OpenFlow15'], False),
])
def test_add_protocols(ovs, db, there, after, told):
    ovs.set_bridge('xenbr1', 'protocols=' + there)
    try:
        assert db.add_protocols('xenbr1', ['OpenFlow10', 'OpenFlow13']) is told
        assert list(db.read_bridges()[1].protocols) == after
        ovs.ofctl('-O', 'OpenFlow13', 'show', 'xenbr1')     # ovs-vswitchd has heard of it
    finally:
        ovs.set_bridge('xenbr1', 'protocols=[]')


def test_add_protocols_waits_for_vswitchd(ovs):
    ovs.set_bridge('xenbr1', 'protocols=OpenFlow11')
    ovs.stop_vswitchd()
    try:
        with Ovsdb(timeout=0.3) as db, pytest.raises(HostError, match='ovs-vswitchd did not'):
            db.add_protocols('xenbr1', ['OpenFlow10'])
    finally:
        ovs.start_vswitchd()
        ovs.set_bridge('xenbr1', 'protocols=[]')


def test_add_protocols_to_nothing(db):
    with pytest.raises(HostError, match='no bridge virbr0'):
        db.add_protocols('virbr0', ['OpenFlow10'])


# --- when there is no Open vSwitch -----------------------------------------------------------


@pytest.mark.parametrize('folder', ['/no/such/folder', '/' + 'x' * 200])
def test_no_ovs(monkeypatch, folder):
    monkeypatch.setenv('OVS_RUNDIR', folder)
    with pytest.raises(HostError, match='^ovsdb-server cannot be reached at %s/db.sock: ' % folder):
        Ovsdb()


def test_nobody_listens(tmp_path, monkeypatch, serve):
    os.rename(serve(lambda connection: None), str(tmp_path / 'db.sock'))
    monkeypatch.setenv('OVS_RUNDIR', str(tmp_path))
    with Ovsdb(timeout=1) as db, pytest.raises(HostError, match='ovsdb-server hung up'):
        db.read_bridges()
    with pytest.raises(HostError, match='ovsdb-server cannot be reached'):
        os.unlink(str(tmp_path / 'db.sock'))
        Ovsdb()


@pytest.fixture
def answer(tmp_path, monkeypatch, serve):
    """Let a function answer our first request, in place of ovsdb-server."""
    def start(talk):
        os.rename(serve(talk), str(tmp_path / 'db.sock'))
        monkeypatch.setenv('OVS_RUNDIR', str(tmp_path))
        return Ovsdb(timeout=0.4)
    return start


@pytest.mark.parametrize('text, complaint', [
    (b'{"id": 1, "resu', 'hung up in mid-call'),
    (b'{"id": 1, "result": null, "error": {"error": "unknown database", "details": "no\\nsuch"}}',
     'refuses: unknown database: no such'),
    (b'{"id": 1, "result": null, "error": "canceled"}', 'refuses: canceled'),
    (b'{"id": 1, "error": null, "result": [{}, {"error": "syntax error", "details": "x"}, null]}',
     'refuses: syntax error: x'),
])
def test_bad_answers(answer, text, complaint):
    def talk(connection):
        connection.recv(65536)
        connection.sendall(text)
    with answer(talk) as db, pytest.raises(HostError, match=complaint) as failure:
        db.read_bridges()
    assert str(failure.value).isprintable()


def test_silence_and_dripping_end_at_the_deadline(answer):
    def talk(connection):
        connection.recv(65536)
        try:
            for _ in range(20):
                connection.sendall(b' ')
                time.sleep(0.1)
        except OSError:
            pass
    began = time.monotonic()
    with answer(talk) as db, pytest.raises(HostError, match='does not answer in time'):
        db.read_bridges()
    assert time.monotonic() - began < 0.8


def test_echo_is_answered_and_strangers_are_passed_over(answer):
    said = []

    def talk(connection):
        connection.recv(65536)
        connection.sendall(b'{"method": "echo", "id": "probe", "params": ["x"]}\n'
                           b'{"id": 99, "result": [], "error": null} {"id": 1, "error"')
        said.append(json.loads(connection.recv(65536).decode()))
        connection.sendall(b': null, "result": [' + b', '.join([b'{"rows": []}'] * 5) + b']}')
    with answer(talk) as db:
        assert db.read_bridges() == ()
    assert said == [{'id': 'probe', 'result': ['x'], 'error': None}]


def test_server_dies_and_comes_back(ovs, db):
    ovs.database.kill()
    ovs.database.wait()
    os.unlink('/run/openvswitch/db.sock')
    try:
        with pytest.raises(HostError, match='hung up'):
            db.read_bridges()
        with pytest.raises(HostError, match='ovsdb-server cannot be reached'):
            Ovsdb()
    finally:
        ovs.start_database()
    with Ovsdb() as again:
        assert len(again.read_bridges()) == 2
