"""A flow as a value.

ovs-ofctl silently widens what it does not like: a match without its
prerequisite loses a field, 10.0.0.300 becomes 10.0.0.44. So flows are written
in the one form in which the switch reads them back, and every flow that was
written is compared with what the switch says it has.
"""
from xsisolate.typing_compat import AbstractSet, Iterable, Iterator, NamedTuple, Tuple


class Flow(NamedTuple):
    """One OpenFlow flow; `match` holds its fields sorted, comma-separated."""

    table: int
    priority: int
    match: str
    actions: str
    cookie: int = 0


class FlowDiff(NamedTuple):
    """The least change that turns the actual flows into the desired ones."""

    add: Tuple[Flow, ...] = ()
    delete: Tuple[Flow, ...] = ()

    def removals(self) -> Iterator[Flow]:
        """Yield the deletions that no addition replaces.

        A flow that gets other actions or another cookie keeps its counts if it is replaced, but
        not if it is deleted first.
        """
        replaced = {flow[:3] for flow in self.add}
        return (flow for flow in self.delete if flow[:3] not in replaced)


def make_flow(table: int, priority: int, fields: Iterable[str], *actions: str) -> Flow:
    """Return a flow from match fields and actions, cookie still unset."""
    return tuple.__new__(Flow, (table, priority, sort_match(','.join(fields)),
                                ','.join(actions) or 'drop', 0))


def sort_match(match: str) -> str:
    """Return a match with its fields in our order."""
    words = match.split(',')
    words.sort()
    return ','.join(words).lstrip(',')      # what is empty sorts first


def diff_flows(desired: AbstractSet[Flow], actual: AbstractSet[Flow]) -> FlowDiff:
    """Return the least change that turns `actual` into `desired`.

    An orphan needs no case of its own: it is an actual flow that is not desired.
    """
    return FlowDiff(tuple(sorted(desired - actual)), tuple(sorted(actual - desired)))
