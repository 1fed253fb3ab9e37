"""Breaks the pipeline on purpose, for as long as a `with` lasts."""
import re
from contextlib import contextmanager
from typing import Iterator, List, Optional, Sequence

from sandbox.ovs import Ovs


def find_flows(ovs: Ovs, bridge: str, table: int, priority: int, part: str = '') -> List[str]:
    """Return the flows of a table with that priority and with `part` in their match."""
    where = r'\btable=%d\b' % table if table else r'^(?!.*\btable=)'
    return [line for line in ovs.dump_flows(bridge)
            if re.search(where, line) and re.search(r'\bpriority=%d\b' % priority, line)
            and part in line.split(' actions=')[0]]


def put_flows(ovs: Ovs, bridge: str, flows: Sequence[str]) -> None:
    """Let a bridge have these flows, as the dump prints them, and no others."""
    ovs.ofctl('-O', 'OpenFlow14', 'replace-flows', bridge, '-', stdin='\n'.join(flows) + '\n')
    ovs.settle()


@contextmanager
def restored(ovs: Ovs, bridge: str) -> Iterator[None]:
    """See to it that the bridge's flows are the same afterwards, whatever was learned."""
    before = ovs.dump_flows(bridge)
    try:
        yield
    finally:
        put_flows(ovs, bridge, before)


@contextmanager
def broken(ovs: Ovs, bridge: str, flows: Sequence[str],
           actions: Optional[str] = None) -> Iterator[None]:
    """Let flows, as the dump prints them, be gone or have other actions."""
    assert flows, 'no such flow to break'
    heads = [re.sub(r'^cookie=\S+, ', '', flow.split(' actions=')[0]) for flow in flows]
    with restored(ovs, bridge):
        for head in heads:
            if actions is None:
                ovs.ofctl('--strict', 'del-flows', bridge, head)
            else:
                ovs.ofctl('--strict', 'mod-flows', bridge, '%s actions=%s' % (head, actions))
        ovs.settle()
        yield
