"""What a bridge's switch says: which items of ours it carries, and which ports it floods to."""
from xsisolate.dom0.ovs import flow_table
from xsisolate.openflow.flow import Flow
from xsisolate.planner.items import Registry, header_flow, parse_record, parse_registry
from xsisolate.typing_compat import AbstractSet, FrozenSet, Mapping, NamedTuple


class SwitchState(NamedTuple):
    """What a switch said a moment ago."""

    items: Registry                 # what is programmed, by its headers
    strays: FrozenSet[Flow]         # headers without sense
    no_flood: Mapping[int, bool]    # by port: is it left out of floods?


def read_answer(question: flow_table.SwitchQuestion) -> SwitchState:
    """Return what a switch answers, and hang up."""
    with question:
        record = parse_record(*question.read_notes())
        return SwitchState(record.items, record.strays, question.read_no_flood())


def read_switch(bridge: str) -> SwitchState:
    """Ask a switch, and return what it answers."""
    return read_answer(flow_table.SwitchQuestion(bridge))


def read_registry(bridge: str) -> Registry:
    """Return the items that are programmed on a bridge."""
    return parse_record(*flow_table.read_notes(bridge)).items


def record_of(flows: AbstractSet[Flow]) -> Registry:
    """Return the items that are programmed, from all our flows; a header must be as we write it."""
    return {key: item for key, item in parse_registry(flows).items() if header_flow(item) in flows}
