"""Waiting until the switch has gone through its cached verdicts."""
import pytest

from xsisolate.dom0.ovs import flow_table, unixctl
from xsisolate.errors import HostError
from xsisolate.openflow.flow import Flow, FlowDiff

FLOW = Flow(235, 1, 'metadata=0x80000000', 'drop', 0x5849534f00000000)


@pytest.fixture
def commands(monkeypatch):
    """The commands that ovs-vswitchd is given; what is in `refused` it refuses."""
    said, refused = [], set()

    class Vswitchd(unixctl.Vswitchd):
        def tell(self, command, *arguments, poke=None):
            said.append(command)
            if command in refused:
                raise HostError("ovs-vswitchd refuses: can't wait on multiple udpifs.")
            return super().tell(command, *arguments, poke=poke)

    monkeypatch.setattr(flow_table, 'Vswitchd', Vswitchd)
    return said, refused


def test_it_waits_twice_and_changes_nothing(bridge, commands):
    flow_table.apply_diff(bridge, FlowDiff(add=(FLOW,)))
    flow_table.wait_for_verdicts(bridge, FLOW)
    assert commands[0] == ['revalidator/wait'] * 2
    assert flow_table.read_flows(bridge) == {FLOW}


def test_where_it_cannot_wait_it_has_the_cache_emptied(bridge, commands):
    commands[1].add('revalidator/wait')
    flow_table.wait_for_verdicts(bridge, FLOW)
    assert commands[0] == ['revalidator/wait', 'revalidator/purge']


def test_no_switch_is_an_error(bridge, commands):
    commands[1].update({'revalidator/wait', 'revalidator/purge'})
    with pytest.raises(HostError, match='multiple udpifs'):
        flow_table.wait_for_verdicts(bridge, FLOW)


def test_a_flow_for_a_while_goes_by_itself(switch, bridge):
    flow_table.add_for(bridge, FLOW, 1)
    assert 'hard_timeout=1,' in switch.ofctl('-O', 'OpenFlow14', 'dump-flows', bridge)
    assert flow_table.read_flows(bridge) == {FLOW}
