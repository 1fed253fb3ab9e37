"""A row: frames, their sender, and who must, may and must not see them.

A mark tells a frame from others. A UDP datagram has it at the end of its data, for the kernel's
connection tracking cuts off what is behind a packet. Other frames have it there: to IP that is
padding, neither the switch nor a guest looks at it. Where connection tracking has cut it off they
are known by all that is left. Where a frame must not grow it has a place for the mark.
"""
from typing import FrozenSet, NamedTuple, Tuple

from xsisolate.selftest.frames import ICMP6, SHORTEST, UDP, split, with_more_data

MARK_PLACE = b'@MARK@MARK@!'
MARK = b'XSISO'
MARK_LENGTH = len(MARK_PLACE)
NUMBERS = 100000            # marks that there are
NEIGHBOURS = tuple(bytes([kind]) for kind in range(133, 138))    # types of ICMPv6


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
    return with_more_data(frame, mark(number)) or frame.ljust(SHORTEST, b'\0') + mark(number)


def without_trailer(frame: bytes) -> bytes:
    """Return a frame as connection tracking leaves it, b'' where it has no part.

    UDP has the mark in its data, and neighbour discovery is not tracked.
    """
    parts = split(frame)
    if not parts or parts[1] == UDP or parts[1] == ICMP6 and parts[3][:1] in NEIGHBOURS:
        return b''
    return frame[:14] + parts[0] + parts[3]
