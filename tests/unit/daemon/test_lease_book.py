"""What the daemon makes of DHCP messages: files, tasks, refusals; without a switch."""
import json
import os
import time
from typing import Any, Dict, List

import pytest
from sandbox.dhcp import ACK, DISCOVER, RELEASE, REQUEST, answer, query
from support.bridge_scenarios import learning, make_vif, mac_of, prefixes, subnets

from xsisolate.config.host_config import Configuration
from xsisolate.daemon import lease_ear
from xsisolate.daemon.known import KnownHost
from xsisolate.daemon.lease_book import COLLECT_S, MANY, LeaseBook
from xsisolate.daemon.lease_ear import HeardFrame, LeaseEar
from xsisolate.daemon.schedule import Schedule, Task
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.ovs.idl import BridgeState
from xsisolate.errors import HostError
from xsisolate.dom0.run_files.vif_leases import is_learning, read_leases
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.vif import Vif
from xsisolate.policy.leases import CARRIED_S, Lease
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.model import Config, Mode
from xsisolate.vif_id import VifId

BRIDGE = 'xenbr0'
CONFIGURATION = Configuration(Config(networks={BRIDGE: subnets()}))
TEN, TWENTY = '10.9.0.10', '10.9.0.20'


class Book:
    """A book with VIFs, and the frames that bridges would have copied."""

    def __init__(self) -> None:
        self.host, self.schedule, self.frames = KnownHost(), Schedule(), []     # type: Any
        self.said: List[str] = []
        self.book = LeaseBook(self.host, self.schedule, Log('test'))
        self.book._log = self       # type: ignore
        self.book._ear.take = self._take        # type: ignore
        self.xid = 0

    def _take(self) -> List[HeardFrame]:
        found, self.frames = self.frames, []
        return list(found)

    def info(self, what: str, **more: Any) -> None:
        """Take down what is logged."""
        self.said.append('%s %s' % (what, ' '.join('%s=%s' % pair for pair in more.items())))

    warning = error = info

    def add(self, *numbers: int, **more: Any) -> None:
        """Have VIFs whose addresses are learned."""
        vifs = [more.get('vif') or learning(make_vif(number, groups='red'))
                for number in numbers]
        netdevs: Dict[str, Any] = {vif.id.vif: () for vif in (
            [known.last for known in self.host.vifs.values() if known.last] + vifs)}
        self.host.take({BRIDGE: BridgeState((), netdevs)})
        for vif in vifs:
            self.note(vif)

    def note(self, vif: Vif) -> None:
        """Have a VIF looked at."""
        self.host.vif(vif.id).note(vif, {})
        self.book.follow(vif, BRIDGE, CONFIGURATION)

    def hear(self, *frames: bytes, number: int = 11) -> None:
        """Have frames of a VIF, or to it, copied."""
        mac = bytes.fromhex(mac_of(number).replace(':', ''))
        self.frames += [HeardFrame((BRIDGE, NETWORK, mac), frame) for frame in frames]
        self.book.listen()

    def lease(self, number: int, address: str, seconds: int = 600) -> None:
        """Have a VIF leased an address."""
        self.xid += 1
        self.hear(query(REQUEST, mac_of(number), asked=address, xid=self.xid),
                  answer(ACK, mac_of(number), address, xid=self.xid, seconds=seconds),
                  number=number)

    def tasks(self) -> List[Task]:
        """Return what is due now."""
        found = []
        while True:
            task = self.schedule.take(time.monotonic())
            if task is None:
                return found
            found.append(task)


def uuid(number: int) -> str:
    return '00000000-0000-4000-9000-%012d' % number


def kept(number: int) -> List[str]:
    record = read_leases(uuid(number), '0')
    return [] if record is None else [json.loads('"%s"' % one) for one in sorted(
        '.'.join(str(lease.address.value >> shift & 255) for shift in (24, 16, 8, 0))
        for lease in record.leases)]


@pytest.fixture
def book(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Book:
    """A book on a host of its own, with one VIF."""
    monkeypatch.setenv('XSISOLATE_ROOT', str(tmp_path))
    made = Book()
    made.add(11)
    return made


def test_a_lease_is_written_down_and_its_vif_programmed_at_once(book: Book) -> None:
    book.lease(11, TEN)
    assert kept(11) == [TEN] and book.tasks() == [Task('', VifId(11, 0))]
    assert any(line.startswith('leased vif=vif11.0') and TEN in line for line in book.said)
    before = read_leases(uuid(11), '0')
    book.lease(11, TEN, 900)        # a renewal
    after = read_leases(uuid(11), '0')
    assert book.tasks() == [] and before and after and after.at > before.at
    book.hear(query(RELEASE, mac_of(11), ciaddr=TEN, ip_src=TEN))
    assert kept(11) == []


def test_what_is_refused_is_said_once(book: Book) -> None:
    book.add(12)
    book.lease(12, TEN)
    book.add(13, vif=make_vif(13, own=TWENTY))
    book.tasks()
    for _ in range(3):
        book.lease(11, TEN)
        book.lease(11, TWENTY)
        book.lease(11, '10.8.0.1')
    refused = [line for line in book.said if line.startswith('lease refused')]
    assert len(refused) == 3 and kept(11) == [] and book.tasks() == []
    assert 'leased to vif12.0' in refused[0] and 'has it fixed' in refused[1] and (
        'subnets' in refused[2])
    assert kept(12) == [TEN]


def test_a_lease_that_has_become_fixed_elsewhere_ends_at_its_renewal(book: Book) -> None:
    book.lease(11, TEN)
    book.add(13, vif=make_vif(13, own=TEN))
    book.lease(11, TEN)
    assert kept(11) == []


def test_a_group_file_that_cannot_be_read_refuses(book: Book) -> None:
    folder = os.environ['XSISOLATE_ROOT'] + '/run/xsisolate/groups'
    os.makedirs(folder)
    with open(folder + '/red.json', 'w') as file:
        file.write('{"version": 1, "members": [{"addresses": ["%s"]' % TEN)
    book.lease(11, TEN)
    assert kept(11) == [] and 'not known' in book.said[-1]


def test_many_at_once_are_their_bridges_task(book: Book) -> None:
    numbers = range(20, 20 + MANY)
    book.add(*numbers)
    for number in numbers:
        mac = bytes.fromhex(mac_of(number).replace(':', ''))
        book.frames += [HeardFrame((BRIDGE, NETWORK, mac), frame) for frame in (
            query(REQUEST, mac_of(number), xid=number),
            answer(ACK, mac_of(number), '10.9.0.%d' % number, xid=number))]
    book.book.listen()
    assert book.tasks() == [] and all(map(kept, numbers))
    assert book.schedule.take(time.monotonic() + COLLECT_S) == Task(BRIDGE)


def test_one_that_changes_again_and_again_waits_its_turn(book: Book) -> None:
    book.lease(11, TEN)
    assert book.tasks()
    book.schedule.end(Task('', VifId(11, 0)), time.monotonic(), True)
    book.lease(11, TWENTY)
    assert book.tasks() == []


def test_frames_of_a_vif_that_is_not_known_yet_wait_for_it(book: Book) -> None:
    book.host.take({BRIDGE: BridgeState((), {'vif11.0': (), 'vif12.0': ()})})
    book.lease(12, TEN)
    assert book.tasks() == [Task('', VifId(12, 0))] and kept(12) == []
    book.note(learning(make_vif(12, groups='red')))
    assert kept(12) == [TEN]


def test_a_vif_without_the_word_learns_nothing(book: Book) -> None:
    book.note(make_vif(11, own='10.9.0.11', groups='red'))
    book.lease(11, TEN)
    assert kept(11) == []
    book.note(make_vif(11, Mode.QUARANTINED))
    book.lease(11, TEN)
    assert kept(11) == []


def test_a_daemon_goes_on_where_another_was(book: Book) -> None:
    book.lease(11, TEN)
    record = read_leases(uuid(11), '0')
    assert record
    second = Book()
    second.add(11)
    second.lease(11, TWENTY)
    assert kept(11) == [TEN] and is_learning()
    os.close(book.book._holds or -1)
    assert not is_learning()
    second.book.look()
    second.lease(11, TWENTY)
    assert kept(11) == [TEN, TWENTY]


def test_a_lease_that_a_vif_brings_along_is_kept_and_counts_longer(book: Book) -> None:
    now = int(time.time())
    lease = Lease(parse_prefix(TEN), now - 60, '10.9.0.5', CARRIED_S)
    vif = learning(make_vif(14, groups='red'))
    book.add(14, vif=vif._replace(leases=(lease,), leases_at=5))
    book.book.look()
    record = read_leases(uuid(14), '0')
    assert record and record.leases == (lease,) and record.at == 5
    book.lease(14, TEN)
    record = read_leases(uuid(14), '0')
    assert record and record.leases[0].longer != CARRIED_S


def test_a_file_is_written_anew_when_it_goes(book: Book) -> None:
    book.lease(11, TEN)
    book.book.look()
    path = '%s/run/xsisolate/leases/%s.0.json' % (os.environ['XSISOLATE_ROOT'], uuid(11))
    os.unlink(path)
    book.book.look()
    assert kept(11) == [TEN]


def test_a_lease_ends_by_itself(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    book.lease(11, TEN)
    book.tasks()
    later = time.time() + 700
    monkeypatch.setattr('xsisolate.daemon.lease_book.time', lambda: later)
    book.book.look()
    assert kept(11) == [] and any('lease ended' in line for line in book.said)


def test_odd_frames_say_nothing(book: Book) -> None:
    book.hear(b'', b'\0' * 60, query(DISCOVER, mac_of(12)), answer(ACK, mac_of(12), TEN))
    assert kept(11) == [] and prefixes(TEN)


def test_each_client_has_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(lease_ear, 'monotonic', lambda: now[0])
    silenced: List[Any] = []
    monkeypatch.setattr(lease_ear, 'silence', lambda *what: silenced.append(what))
    ear = LeaseEar()
    flood, other = (BRIDGE, NETWORK, b'1' * 6), (BRIDGE, NETWORK, b'2' * 6)
    heard = sum(ear._hears(flood, b'4%d' % number) for number in range(1000))
    assert heard == lease_ear.BURST and ear._hears(other, b'41')
    assert silenced == [(BRIDGE, NETWORK, '31:31:31:31:31:31', lease_ear.SILENCE_S)]
    assert ear.take_silenced() == {flood: lease_ear.SILENCE_S} and not ear.take_silenced()
    now[0] += 1
    assert sum(ear._hears(flood, b'41') for _ in range(1000)) == lease_ear.EACH_S
    assert len(silenced) == 1       # what was copied before
    for number in range(10_000):
        assert ear._hears((BRIDGE, NETWORK, number.to_bytes(6, 'big')), b'41')
    assert len(ear._callers) == lease_ear.CLIENTS_MAX


def test_who_goes_on_is_silenced_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(lease_ear, 'monotonic', lambda: now[0])
    seconds: List[int] = []
    monkeypatch.setattr(lease_ear, 'silence', lambda *what: seconds.append(what[-1]))
    ear, flood = LeaseEar(), (BRIDGE, NETWORK, b'1' * 6)

    def flooding(wait: float) -> None:
        now[0] += wait
        for _ in range(1000):
            ear._hears(flood, b'41')

    for wait in (0, 6, 11, 21, 41, 61, 61, 121):
        flooding(wait)
    assert seconds == [5, 10, 20, 40, 60, 60, 60, 5]

    def refuse(*_: Any) -> None:
        raise HostError('ovs-vswitchd does not answer')

    monkeypatch.setattr(lease_ear, 'silence', refuse)
    ear.take_silenced()
    flooding(6)
    assert not ear.take_silenced()
    monkeypatch.setattr(lease_ear, 'silence', lambda *what: None)
    flooding(0.5)
    assert not ear.take_silenced()
    flooding(0.6)
    assert ear.take_silenced()


def test_answers_that_nobody_asked_for_use_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_ear, 'monotonic', lambda: 100.0)
    ear, client = LeaseEar(), (BRIDGE, NETWORK, b'1' * 6)
    assert not ear._expects(client, b'41')
    assert ear._hears(client, b'41')
    assert not any(ear._expects(client, b'42') for _ in range(1000))
    assert sum(ear._expects(client, b'41') for _ in range(1000)) == lease_ear.BURST
    for number in range(50, 58):
        assert ear._hears(client, b'4%d' % number)
    assert not ear._expects(client, b'41')
    assert not ear._expects((BRIDGE, NETWORK, b'2' * 6), b'450')


def test_a_guest_that_takes_and_gives_back_all_day_fills_no_log(book: Book) -> None:
    for _ in range(100):
        book.lease(11, TEN)
        book.hear(query(RELEASE, mac_of(11), ciaddr=TEN, ip_src=TEN))
    assert len(book.said) == 10 and kept(11) == []
