"""Flows as the text of ovs-ofctl(8): the referee of what the product says and reads itself.

Up to 2.15 it has no word for IGMP, and reads any value that a learn action is to match as 0.
"""
from xsisolate.openflow.dump import parse_line
from xsisolate.openflow.flow import sort_match

IGMP, OLD_IGMP = 'igmp', 'ip,nw_proto=2'


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
    """Tell whether the referee has no word for IGMP."""
    return 'igmp' not in switch.ofctl('parse-flow', 'ip,nw_proto=2,actions=drop')


def in_new_words(flows):
    """Return flows of an old referee as a new one would have printed them."""
    return frozenset(flow._replace(match=_renamed(flow.match)) for flow in flows)


def _renamed(match):
    words = match.split(',')
    if {'ip', 'nw_proto=2'} <= set(words):
        words = [word for word in words if word not in ('ip', 'nw_proto=2')] + [IGMP]
    return sort_match(','.join(words))


def in_old_words(flows):
    """Return flows as an old referee understands them, without those that it would change."""
    return [flow._replace(match=','.join(OLD_IGMP if word == IGMP else word
                                         for word in flow.match.split(',')))
            for flow in flows if 'learn(' not in flow.actions]
