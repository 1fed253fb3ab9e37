"""Flows as the text of ovs-ofctl(8): the referee of what the product says and reads itself."""
from xsisolate.openflow.dump import parse_line


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
