"""A row: frames, their sender, and who must, may and must not see them.

A mark behind the packet tells a frame from others. To IP that is padding: neither the switch nor a
guest looks at it. Where a frame must not grow it has a place for the mark.
"""
from typing import FrozenSet, NamedTuple, Tuple

MARK_PLACE = b'@MARK@MARK@!'
MARK = b'XSISO'
MARK_LENGTH = len(MARK_PLACE)
SHORTEST = 60


class Row(NamedTuple):
    """What is sent, and whose business it is."""

    id: str
    sender: str
    frames: Tuple[bytes, ...]
    seen_by: FrozenSet[str] = frozenset()       # where all frames must be seen
    may: FrozenSet[str] = frozenset()           # where they may be; nowhere else
    steps: Tuple[Tuple[str, bytes], ...] = ()   # sent before, whatever becomes of them
    unmarked: bool = False      # only frames equal to it count


def mark(number: int) -> bytes:
    """Return what makes a frame known."""
    return MARK + b'%05d.Z' % number


def marked(frame: bytes, number: int) -> bytes:
    """Return a frame that is known by its mark."""
    if MARK_PLACE in frame:
        return frame.replace(MARK_PLACE, mark(number))
    return frame.ljust(SHORTEST, b'\0') + mark(number)
