"""A row of the corpus: who sends which frames, and who may see them.

Frames are marked, so that hundreds can be in the air at once and each that is
captured is known: a trailer behind the packet (padding to IP, so the switch
and guests do not look at it), or where the frame must not grow, the word MARK in
its payload.
"""
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Tuple, Union

Frame = Union[bytes, Callable[..., Any]]
MARK = b'@MARK@MARK@!'
SHORTEST = 60       # an Ethernet frame less its checksum

# Places where frames are looked for that are no VM.
UPLINK = 'uplink'
DOM0 = 'dom0'


class Case(NamedTuple):
    """One row. Nobody but `seen_by` and, if they like, `may` sees any of the frames."""

    id: str
    sender: str
    frames: Tuple[bytes, ...]
    seen_by: Tuple[str, ...] = ()
    may: Tuple[str, ...] = ()
    steps: Tuple[Tuple[str, bytes], ...] = ()   # sent before, whatever becomes of them
    quiet: bool = False                         # unmarked: only frames equal to it count


def attack(name: str, sender: str, *frames: Any, **more: Any) -> Case:
    """Return a row of frames that must not arrive, with `seen_by`: anywhere else."""
    return _case(name, sender, frames, **more)


def legit(name: str, sender: str, to: Union[str, Tuple[str, ...]], *frames: Any,
          **more: Any) -> Case:
    """Return a row of frames that must arrive there and nowhere else."""
    return _case(name, sender, frames, seen_by=(to,) if isinstance(to, str) else to, **more)


def _case(name: str, sender: str, frames: Iterable[Any], **more: Any) -> Case:
    steps = tuple((who, bytes(frame)) for who, frame in more.pop('steps', ()))
    for key in ('seen_by', 'may'):
        if isinstance(more.get(key), str):
            more[key] = (more[key],)
    return Case(name, sender, tuple(bytes(frame) for frame in flatten(frames)), steps=steps,
                **more)


def flatten(frames: Iterable[Any]) -> Iterator[Any]:
    """Yield frames out of frames and lists of them."""
    for frame in frames:
        if isinstance(frame, (list, tuple)):
            yield from flatten(frame)
        else:
            yield frame


def mark(number: int) -> bytes:
    """Return what makes a frame known."""
    return b'XSISO%05d.' % number + b'\x5a'


def marked(frame: bytes, number: int) -> bytes:
    """Return a frame that is known by its mark."""
    if MARK in frame:
        return frame.replace(MARK, mark(number))
    return frame.ljust(SHORTEST, b'\0') + mark(number)
