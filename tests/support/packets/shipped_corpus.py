"""The corpus as the library ships it: its rows as bytes, which need no packet library.

    python -m support.packets.shipped_corpus FILE
"""
import gzip
import json
import random
import sys
from typing import Iterator, Mapping

from support.packets import attacks, each_vif, legit
from support.packets.rows import Case
from support.packets.shared_network import GATEWAY_MAC, LAN, POLICIES, Who, vm_mac

KINDS = {'legitimate': {**legit.FAMILIES, **each_vif.LEGIT},
         'attack': {**attacks.FAMILIES, **each_vif.ATTACKS}}


def everybody() -> Mapping[str, Who]:
    """Return the parties of the shared network, running or not."""
    who = {name: Who(name, number, vm_mac(number)) for name, number, _ in POLICIES}
    who.update((name, Who(name, number, '02:00:00:00:aa:%02x' % number)) for name, number in LAN)
    return dict(who, gw=Who('gw', 254, GATEWAY_MAC))


def format_corpus() -> str:
    """Return the file's text, a line for each row."""
    return ''.join(json.dumps(line) + '\n' for line in _lines())


def _lines() -> Iterator[object]:
    who = everybody()
    random.seed(22)         # the packet library leaves some fields to chance
    for kind, families in KINDS.items():
        for name, table in families.items():
            for case in table(who):
                yield _line(kind, name, case)


def _line(kind: str, family: str, case: Case) -> object:
    return [kind, family, case.id, case.sender, [frame.hex() for frame in case.frames],
            list(case.seen_by), list(case.may), [(name, frame.hex()) for name, frame in case.steps],
            case.quiet]


if __name__ == '__main__':
    with open(sys.argv[1], 'wb') as file:
        # without a time, so that the same rows are the same file
        file.write(gzip.compress(format_corpus().encode('ascii'), 9, mtime=0))
