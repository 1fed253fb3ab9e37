"""Two VIFs must not own the same address: which flows of RESOLVE say so?

The switch itself refuses a flow that overlaps another (reconcile asks it to);
this finds the two, so that the message can name them.
"""
from typing import Iterable, List, NamedTuple, Optional, Tuple

from xsisolate.core.address import format_prefix
from xsisolate.core.flow import Flow
from xsisolate.core.flows.stages import RESOLVE
from xsisolate.core.model import Prefix


class Resolved(NamedTuple):
    """An address or network that a flow of RESOLVE knows the owner of."""

    network: str
    prefix: Prefix


def find_overlap(added: Iterable[Flow],
                 present: Iterable[Flow]) -> Optional[Tuple[Flow, Flow]]:
    """Return a flow to add and the one it collides with: the older, the one of the older VIF."""
    taken = [flow for flow in present if flow.table == RESOLVE]
    for flow in sorted((flow for flow in added if flow.table == RESOLVE), key=_age):
        for other in taken:
            if (other.priority, other.cookie != flow.cookie) == (flow.priority, True) and _overlap(
                    parse_resolved(flow), parse_resolved(other)):
                return flow, other
        taken.append(flow)
    return None


def format_resolved(flow: Flow) -> str:
    """Return the address of a flow of RESOLVE as people write it."""
    return format_prefix(parse_resolved(flow).prefix)


def parse_resolved(flow: Flow) -> Resolved:
    """Return the network and the address that a flow of RESOLVE matches."""
    fields = dict(field.split('=', 1) for field in flow.match.split(','))
    version = int(fields['reg14'], 16)
    words = (7,) if version == 4 else (4, 5, 6, 7)
    parts = [_parse_word(fields.get('reg%d' % word, '0/0')) for word in words]
    return Resolved(fields['reg13'], Prefix(version, _join([value for value, _ in parts]),
                                            bin(_join([mask for _, mask in parts])).count('1')))


def _parse_word(text: str) -> Tuple[int, int]:
    value, _, mask = text.partition('/')
    return int(value, 16), int(mask, 16) if mask else 0xffffffff


def _join(words: List[int]) -> int:
    number = 0
    for word in words:
        number = number << 32 | word
    return number


def _overlap(one: Resolved, other: Resolved) -> bool:
    if (one.network, one.prefix.version) != (other.network, other.prefix.version):
        return False
    width = 32 if one.prefix.version == 4 else 128
    shift = width - min(one.prefix.length, other.prefix.length)
    return one.prefix.value >> shift == other.prefix.value >> shift


def _age(flow: Flow) -> int:
    return flow.cookie      # holds the domain id, which only grows
