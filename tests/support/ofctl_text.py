"""Flows as the text of ovs-ofctl(8): the referee of what the product says and reads itself.

The one of 2.15 prints another word for IGMP, and reads the values of learn actions as 0.
"""
from xsisolate.openflow.dump import parse_line
from xsisolate.openflow.flow import sort_match

OLD, OURS = 'igmp', 'ip,nw_proto=2'


def parse_dump(text):
    """Return the flows in the output of `ovs-ofctl --no-stats --no-names dump-flows`."""
    return frozenset(flow for line in text.splitlines() for flow in parse_line(line))


def format_add(flow):
    """Return the line of a bundle that adds a flow."""
    return 'add cookie=0x%x,table=%d,priority=%d%s,actions=%s' % (
        flow.cookie, flow.table, flow.priority, flow.match and ',' + flow.match, flow.actions)


def format_bundle(flows):
    """Return the file for `ovs-ofctl --bundle add-flows` that adds flows."""
    return ''.join(format_add(flow) + '\n' for flow in flows)


def is_old(switch):
    """Tell whether the referee reads learn actions wrongly, and has a word of its own for IGMP."""
    return ']=0x1' not in switch.ofctl('parse-flow', 'actions=learn(table=1,NXM_NX_REG15[1]=0x1)')


def in_our_words(flows):
    """Return flows of an old referee as a new one would have printed them."""
    return frozenset(flow._replace(match=sort_match(','.join(
        OURS if word == OLD else word for word in flow.match.split(',')))) for flow in flows)


def that_it_reads(flows):
    """Return those flows that an old referee would not change."""
    return [flow for flow in flows if 'learn(' not in flow.actions]
