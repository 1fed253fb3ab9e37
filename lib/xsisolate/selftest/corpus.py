"""The corpus: all frames with which the tests of this release attack and use a network.

`make corpus` writes it, out of tests/support/packets, where a packet library builds the frames.
A line is a row: [kind, family, what, sender, frames, seen by, may be seen by, steps, unmarked].
"""
import gzip
import json
import os
from typing import FrozenSet, Iterator, List, NamedTuple, Tuple

from xsisolate.errors import HostError
from xsisolate.selftest.rows import Row

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'corpus.jsonl.gz')
ATTACK, LEGITIMATE = 'attack', 'legitimate'


class Family(NamedTuple):
    """Rows of a kind that are about the same."""

    kind: str           # attack, legitimate
    name: str
    rows: List[Row]


def read_corpus(places: FrozenSet[str]) -> List[Family]:
    """Return all families; frames are looked for in these places only."""
    families: List[Family] = []
    for kind, name, row in _read_rows(places):
        if not families or (families[-1].kind, families[-1].name) != (kind, name):
            families.append(Family(kind, name, []))
        families[-1].rows.append(row)
    return families


def _read_rows(places: FrozenSet[str]) -> Iterator[Tuple[str, str, Row]]:
    try:
        with gzip.open(PATH, 'rt', encoding='ascii') as file:
            for line in file:
                (kind, family, what, sender, frames, seen_by, may, steps,
                 unmarked) = json.loads(line)
                yield kind, family, Row(
                    what, sender, tuple(map(bytes.fromhex, frames)), places & set(seen_by),
                    places & set(may), tuple((who, bytes.fromhex(step)) for who, step in steps),
                    unmarked)
    except (OSError, EOFError, ValueError) as error:
        raise HostError('%s: the corpus cannot be read: %s: install the package anew'
                        % (PATH, error)) from error
