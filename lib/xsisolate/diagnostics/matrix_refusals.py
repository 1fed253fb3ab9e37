"""Which pairs of a matrix were refused something in the last hour."""
from time import time
from typing import Dict, Iterable, List

from xsisolate.dataplane.refusals import read_book, read_now
from xsisolate.diagnostics.matrix import Matrix, NetworkMatrix
from xsisolate.errors import HostError
from xsisolate.planner.refusal_book import Book, Row

LATELY_S = 3600.0


def with_refusals(matrix: Matrix) -> Matrix:
    """Return a matrix with what was refused lately; what is not known is a warning."""
    try:
        book = read_book() or Book()
        read_now(book)
    except HostError as error:
        return matrix._replace(warnings=matrix.warnings + (
            'what was refused is not known: %s' % error,))
    begin = time() - LATELY_S
    rows = [row for row in book.rows.values() if row.last >= begin]
    return matrix._replace(networks=tuple(mark_refused(network, rows)
                                          for network in matrix.networks))


def mark_refused(network: NetworkMatrix, rows: Iterable[Row]) -> NetworkMatrix:
    """Return a network's matrix with the frames that were refused, by sender and receiver.

    What a permissive VIF would have refused, and has passed, is counted by itself.
    """
    by_vif = {(view.vif.id.vif, view.vif.vm_uuid): at for at, view in enumerate(network.views)}
    by_mac = {view.vif.mac: at for at, view in enumerate(network.views)}
    refused: List[Dict[int, int]] = [{} for _ in network.views]
    passed: List[Dict[int, int]] = [{} for _ in network.views]
    for row in rows:
        if (row.bridge, row.refusal.network) != (network.place.bridge, network.place.number):
            continue
        sender = by_vif.get(row.sender or ('', ''), by_mac.get(row.refusal.source_mac))
        receiver = by_vif.get(row.receiver or ('', ''), by_mac.get(row.refusal.target_mac))
        if sender is not None and receiver is not None and sender != receiver:
            counts = (passed if row.refusal.passed else refused)[sender]
            counts[receiver] = counts.get(receiver, 0) + row.frames
    return network._replace(refused=tuple(refused), passed=tuple(passed))
