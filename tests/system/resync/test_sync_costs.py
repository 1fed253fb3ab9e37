"""How often a sync reads the database and the flows of a bridge, in counts."""
import os
from typing import Any, Iterator, List, Tuple

import pytest

from support.command import DIFFERENT, connected
from sandbox.dom0 import Sandbox

from support.resync import sync, write_members
from xsisolate.dataplane.resync import resync
from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.dom0.ovs import channel, flow_table, jsonrpc
from xsisolate.openflow.message import ALL_TABLES, question
from xsisolate.openflow.ownership import HEADER, HEADER_MASK, OWNER, OWNER_MASK, REGISTRY

GROUP_FILE = '/run/xsisolate/groups/red.json'
pytestmark = pytest.mark.any_python

ALL_FLOWS = question(ALL_TABLES, OWNER, OWNER_MASK)
ALL_HEADERS = question(REGISTRY, OWNER | HEADER, HEADER_MASK)


class Reads:
    """What has been asked so far: the whole database; a bridge's flows of ours; all its headers."""

    def __init__(self) -> None:
        self.database = self.flows = self.headers = 0

    def __call__(self) -> Tuple[int, int, int]:
        """Return the numbers since this was asked last."""
        found = self.database, self.flows, self.headers
        self.database = self.flows = self.headers = 0
        return found


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Count at the two connections."""
    count = Reads()
    transact, ask = jsonrpc.Connection.transact, channel.Channel.ask

    def counted_transact(self: Any, operations: Any, *arguments: Any, **named: Any) -> Any:
        count.database += any(one.get('op') == 'select' and one['table'] == 'Interface'
                              and not one['where'] for one in operations)
        return transact(self, operations, *arguments, **named)

    def counted_ask(self: Any, kind: int, *bodies: bytes) -> Any:
        if kind == flow_table.FLOWS:
            count.flows += ALL_FLOWS in bodies
            count.headers += ALL_HEADERS in bodies
        return ask(self, kind, *bodies)

    monkeypatch.setattr(jsonrpc.Connection, 'transact', counted_transact)
    monkeypatch.setattr(channel.Channel, 'ask', counted_ask)
    return count


@pytest.fixture
def host(pair_host: Sandbox) -> Iterator[Sandbox]:
    """Two VIFs of a group on xenbr0, which has what it needs."""
    sync()
    yield pair_host
    if os.path.exists(GROUP_FILE):
        os.unlink(GROUP_FILE)


def change_member(host: Sandbox, number: int) -> None:
    write_members(host, 'red', ('02:00:00:00:00:%02x' % number, '10.9.0.%d' % number))


@pytest.mark.parametrize('arguments', [[], ['--dry-run']])
def test_a_sync_of_a_bridge_that_needs_nothing(host: Sandbox, reads: Reads,
                                               arguments: List[str]) -> None:
    """The database once for netdevs that are gone, and once for what is on the bridge."""
    sync('--bridge', 'xenbr0', *arguments)
    assert reads() == (2, 1, 0)


def test_a_sync_of_a_group_that_has_a_new_member(host: Sandbox, reads: Reads) -> None:
    """Flows are read back."""
    change_member(host, 77)
    sync('--bridge', 'xenbr0', '--dry-run', code=DIFFERENT)
    assert reads() == (2, 1, 0)
    assert 'xenbr0: 2 VIFs' in sync('--bridge', 'xenbr0').out
    assert reads() == (2, 2, 0)


def test_the_daemons_way(host: Sandbox, reads: Reads) -> None:
    """It compares without the lock, and writes what it has compared once more, under the lock."""
    with connected() as context:
        reads()
        assert not resync(context, 'xenbr0', write=False).changed
        assert reads() == (1, 1, 0)
        change_member(host, 78)
        assert resync(context, 'xenbr0', write=False).changed
        with bridge_lock('xenbr0'):
            assert resync(context, 'xenbr0', write=True).diff.add
        assert reads() == (2, 3, 0)
