"""How much is learned beside a flood, if nobody asks again. `make measure` shows the figures."""
import time
from typing import Any, Callable, List, Tuple

import pytest
from sandbox.dhcp import ACK, BROADCAST, DISCOVER, OFFER, REQUEST, answer, query
from sandbox.host import Host
from sandbox.vm import Vm
from support.learning import Learning, kept
from support.packets.real_programs import within
from support.torrent import LIMITLESS, Torrent

pytestmark = pytest.mark.scale

COUNT = 100
APART_S = 0.15          # between two exchanges: within a client's share
PATIENCE_S = 0.6
FAST = 20_000.0         # answers a second, more than servers give
Flood = Callable[[Learning, Vm, Vm], Tuple[Host, List[bytes]]]


def to_all(mac: str, xid: int) -> bytes:
    """Return an offer that everybody hears."""
    return answer(OFFER, mac, '10.9.0.9', xid=xid, dst=BROADCAST, ip_dst='255.255.255.255')


@pytest.mark.parametrize('flood, limit, least', [
    pytest.param(lambda learning, red, evil: (evil, [
        query(DISCOVER, evil.mac, xid=xid) for xid in range(64)]), LIMITLESS, 90,
        id="a guest's questions"),
    pytest.param(lambda learning, red, evil: (evil, [
        query(DISCOVER, red.mac, src=evil.mac, xid=xid) for xid in range(64)]), LIMITLESS, 90,
        id="a guest's questions with the other's hardware address"),
    pytest.param(lambda learning, red, evil: (learning.server, [
        answer(OFFER, evil.mac, '10.9.0.9', xid=xid) for xid in range(64)]), FAST, 80,
        id='answers to a guest'),
    pytest.param(lambda learning, red, evil: (learning.server, [
        to_all(evil.mac, xid) for xid in range(64)]), FAST, 80, id='answers to all'),
    pytest.param(lambda learning, red, evil: (learning.server, [
        answer(OFFER, red.mac, '10.9.0.9', xid=xid) for xid in range(64)]), FAST, 80,
        id='answers to the other guest'),
    pytest.param(lambda learning, red, evil: (learning.server, [
        answer(OFFER, evil.mac, '10.9.0.9', xid=xid) for xid in range(64)]), LIMITLESS, 0,
        id='answers without limit'),
])
def test_learned_beside_a_flood(learning: Learning, request: Any, flood: Flood, limit: float,
                                least: int) -> None:
    """One guest, or the server, floods; another asks a hundred times, once each time."""
    red, evil = learning.start('red', 0x47), learning.start('evil', 0x48)
    learning.grant(red, '10.9.0.250')
    learned = 0
    with Torrent(*flood(learning, red, evil), limit=limit) as torrent:
        time.sleep(0.5)
        began, used = time.monotonic(), learning.watch.cpu()
        for number in range(COUNT):
            address, xid = '10.9.0.%d' % (10 + number), 1000 + number
            red.send(query(REQUEST, red.mac, asked=address, xid=xid))
            time.sleep(APART_S / 2)
            learning.server.send(answer(ACK, red.mac, address, xid=xid))
            learned += within(PATIENCE_S, lambda: address in kept(red))
            time.sleep(APART_S / 2)
        share = (learning.watch.cpu() - used) / (time.monotonic() - began)
    print('\n%s: %.0f a second, %d of %d learned, daemon %.1f %% of a core' % (
        request.node.callspec.id, torrent.rate, learned, COUNT, 100 * share))
    assert learned >= least
