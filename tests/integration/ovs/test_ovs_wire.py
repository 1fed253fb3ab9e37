"""What we say in OpenFlow is what ovs-ofctl would have said, and we read what it reads."""
import pytest

from support.ofctl_text import format_bundle, in_our_words, is_old, parse_dump, that_it_reads
from support.bridge_scenarios import SCENARIOS, flows_of
from xsisolate.dom0.ovs import flow_table
from xsisolate.errors import HostError
from xsisolate.openflow.flow import FlowDiff

OFCTL = ('-O', 'OpenFlow14')


def dump(switch, bridge):
    found = parse_dump(switch.ofctl(*OFCTL, '--no-stats', '--no-names', 'dump-flows', bridge,
                                    'cookie=0x5849534f00000000/0xffffffff00000000'))
    return in_our_words(found) if is_old(switch) else found


@pytest.mark.parametrize('name', sorted(SCENARIOS))
def test_both_ways(switch, bridge, name):
    flows = frozenset(flows_of(SCENARIOS[name].plan()))
    flow_table.apply_diff(bridge, FlowDiff(add=tuple(flows)))
    assert dump(switch, bridge) == flows
    flow_table.apply_diff(bridge, FlowDiff(delete=tuple(flows)))
    assert dump(switch, bridge) == frozenset()
    said = frozenset(that_it_reads(flows)) if is_old(switch) else flows
    switch.ofctl(*OFCTL, '--bundle', 'add-flows', bridge, '-', stdin=format_bundle(said))
    assert flow_table.read_flows(bridge) == said
    flow_table.apply_diff(bridge, FlowDiff(delete=tuple(flows)))


# What somebody may have written under our cookie; what we cannot read is deleted all the same.
STRANGE = (
    'ip,nw_tos=8,actions=drop', 'tun_id=7,actions=drop', 'ip,nw_frag=later,actions=drop',
    'dl_vlan_pcp=3,dl_vlan=9,actions=drop', 'ipv6,ipv6_src=::1/::ffff,actions=drop',
    'actions=group:1', 'actions=LOCAL', 'actions=CONTROLLER:128', 'actions=set_queue:3,NORMAL',
    'ip,actions=dec_ttl,mod_nw_dst:10.0.0.1,output:7', 'actions=resubmit(5,6)', 'sctp,actions=drop',
    'ip,actions=ct(commit,zone=5,exec(load:1->NXM_NX_CT_MARK[])),resubmit(,5)', 'mpls,actions=drop',
    'actions=learn(table=7,hard_timeout=9,NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15])',
    'ct_mark=5,ip,actions=drop', 'xreg0=0x1234,actions=drop', 'actions=goto_table:236',
    'actions=write_metadata:5', 'pkt_mark=3,actions=meter:1', 'in_port=CONTROLLER,actions=drop',
    'dl_type=0x88cc,actions=drop', 'ip,nw_proto=0x32,actions=drop', 'rarp,actions=drop')


@pytest.mark.parametrize('flow', STRANGE)
def test_what_we_do_not_know_is_read_and_deleted(switch, bridge, flow):
    if 'group:' in flow:
        switch.ofctl(*OFCTL, 'add-group', bridge, 'group_id=1,type=all,bucket=output:1')
    if 'meter' in flow:
        switch.ofctl(*OFCTL, 'add-meter', bridge, 'meter=1,kbps,band=type=drop,rate=9')
    switch.ofctl(*OFCTL, 'add-flow', bridge,
                 'cookie=0x5849534f50000001,table=235,priority=7,' + flow)
    switch.ofctl(*OFCTL, 'add-flow', bridge, 'cookie=1,table=235,priority=7,udp,actions=drop')
    found, = flow_table.read_flows(bridge)
    assert (found.table, found.priority, found.cookie) == (235, 7, 0x5849534f50000001)
    flow_table.apply_diff(bridge, FlowDiff(delete=(found,)))
    assert flow_table.read_flows(bridge) == frozenset()
    assert 'cookie=0x1,' in switch.ofctl(*OFCTL, 'dump-flows', bridge, 'table=235')


def test_a_refusal_names_the_flow_and_leaves_all_as_it_was(bridge):
    good, *others = sorted(flows_of(SCENARIOS['allow'].plan()))[:9]
    flow_table.apply_diff(bridge, FlowDiff(add=(good,)))
    bad = others[3]._replace(match='ipv6,nw_src=10.0.0.1', actions='output:7')
    with pytest.raises(HostError, match=r'bridge %s: ovs-vswitchd refuses: BAD_MATCH, code \d+, '
                                        r'for table=\d+,ipv6,nw_src=10.0.0.1 actions=output:7'
                                        % bridge):
        flow_table.apply_diff(bridge, FlowDiff(add=(*others[:3], bad, *others[4:]), delete=(good,)))
    assert flow_table.read_flows(bridge) == {good}


def test_no_question_has_no_answer(bridge):
    assert flow_table.read_items(bridge, ()) == frozenset()


def test_no_bridge_and_no_version(switch, bridge):
    with pytest.raises(HostError, match='bridge nosuch: ovs-vswitchd cannot be reached at .*'
                                         'nosuch.mgmt'):
        flow_table.read_flows('nosuch')
    switch.vsctl('set', 'Bridge', bridge, 'protocols=OpenFlow10')
    with pytest.raises(HostError, match='does not speak OpenFlow14'):
        flow_table.read_flows(bridge)
    switch.vsctl('clear', 'Bridge', bridge, 'protocols')
