"""Frames by mutation: the policy says who may see each, the switch decides.

A thousand a run, in batches that are in the air at once. Seeds are
printed; `--hypothesis-seed=N` repeats a run. What has ever gone wrong is a row of
REGRESSIONS.
"""
import random
import time
from typing import Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from sandbox import packets
from sandbox.dom0 import Sandbox
from support.packets.rows import DOM0, UPLINK, mark, marked
from support.packets.frames import Ether, arp
from support.packets.mutate import Sketch, build, fewer, friends, sketches
from support.packets.oracle import PARTIES, Oracle, Ruling, parse
from support.packets.radio import Ears
from support.packets.broken_pipeline import broken, find_flows
from support.packets.shared_network import World
from suite import EXPLORE
from xsisolate.pipeline import tables

VMS = ('red1', 'red2', 'blue1', 'svc1', 'svc2', 'web', 'wide', 'ward', 'north', 'south', 'un',
       'evil', 'locked', 'quar', 'off', 'carp', 'carp2', 'rtr')
SENDERS = VMS + ('gw', 'lan', 'redfar', 'bluefar', DOM0)
PEERS = friends(SENDERS)
BATCH, BATCHES = 125, 8 * EXPLORE
SABOTAGE_BATCHES = 12
GAP_S = 0.001
LENGTHS = {'ip.len', 'ip6.plen', 'cut'}     # changes after which a header may be cut off
CONFIRMED = 3           # times that a frame must be missing
EXPLAINED = 3           # failures in full

WRONG_VERSION = 'a limit: the switch cannot see the version, receivers discard it'
# What once went wrong, or looked so: why, and the frame. Those of the oracle stay, for it may
# be changed as well.
REGRESSIONS: Tuple[Tuple[str, Sketch], ...] = (
    ('flows: who poses as the gateway is stopped', Sketch(
        'evil', 'mDNS6', 'gw', 'web', (('ip6.hlim', 64), ('eth.dst', '02:00:00:00:00:0d')))),
    ('flows: the same, by ARP', Sketch(
        'un', 'ARP probe', 'un', 'locked', (('eth.src', '00:00:5e:00:01:01'),))),
    ('flows: the same, cut short', Sketch('dom0', 'RS', 'gw', 'quar', (('cut', 54),))),
    ('flows: the same, to Dom0', Sketch(
        'evil', 'redirect', 'evil', 'dom0', (('eth.src', '00:00:5e:00:01:01'),))),
    (WRONG_VERSION, Sketch('evil', 'UDP', 'evil', 'wide', (('ip.version', 15),))),
    (WRONG_VERSION, Sketch('wide', 'RS', 'wide', 'blue1', (('ip6.version', 8),))),
    (WRONG_VERSION, Sketch('red2', 'mDNS6', 'red2', 'gw', (('ip6.version', 2),))),
    ('flows: a router does not answer for a neighbour\'s link-local', Sketch(
        'gw', 'NA', 'gw', 'blue1', (('na.target', 'fe80::ff:fe00:42'),))),
    ('oracle: a renewal goes to the uplink, whoever is named', Sketch(
        'red1', 'renewal6', 'red1', 'un')),
    ('oracle: among the unmanaged ND is their business', Sketch(
        'evil', 'NS', 'evil', 'svc1', (('icmp6.code', 255),))),
    ('a limit: the switch sees into an atomic fragment', Sketch(
        'blue1', 'DAD', 'blue1', 'gw', (('icmp6.type', 131), ('headers', ('atomic',))))),
    ('oracle: a peer may send what is broken', Sketch(
        'redfar', 'outside6', 'redfar', 'red2', (('ip6.nh', 51),))),
    ('a limit: a closed VIF\'s link-local may be the router\'s', Sketch(
        'svc1', 'NS of link-local', 'svc1', 'quar')),
    ('a limit: a router is solicited through the uplink', Sketch(
        'south', 'NS of link-local', 'south', 'gw', (('ip6.dst', '2001:db8::1'),))),
)

# Table, priority, part of the match, actions then (None: no flow).
SABOTAGE: Tuple[Tuple[str, int, int, str, Optional[str]], ...] = (
    ('tags are not refused', tables.GUARD, 200, 'vlan_tci', None),
    ('DHCP answers pass', tables.GUARD, 170, 'tp_src=67', None),
    ('ND with any hop limit', tables.GUARD, 150, 'icmp6', 'resubmit(,%d)' % tables.BIND),
    ('ARP from any MAC', tables.BIND, 100, 'arp', 'resubmit(,%d)' % tables.CLAIM),
    ('claims are not asked', tables.CLAIMED, 0, '', 'resubmit(,%d)' % tables.SETTLE),
    ('theft by a neighbour', tables.SOURCE, 50, 'dl_src=02:00:00:00:00:0c', None),
    ('nobody is asked on the way in', tables.INGRESS_ANSWER, 0, '',
     'resubmit(,%d)' % tables.ACCEPT),
    ('nobody is asked on the way out', tables.EGRESS_ANSWER, 0, '',
     'resubmit(,%d)' % tables.INGRESS),
    ('multicast of isolated VIFs floods', tables.MULTICAST, 110, 'reg15',
     'resubmit(,%d)' % tables.PASS),
    ('multicast does not reach the groups', tables.MULTICAST, 110, 'reg15', None),
    ('theft of the gateway\'s MAC', tables.SOURCE, 45, 'dl_src', None),
    ('a stranger\'s MAC address', tables.CLASSIFY, 35, '', 'resubmit(,%d)' % tables.PEERS),
    ('replies without a request', tables.REPLY, 0, '', 'resubmit(,%d)' % tables.PASS),
    ('theft of an additional MAC', tables.SOURCE, 49, 'dl_src=00:00:5e:00:01:07', None),
    ('an additional MAC in ARP', tables.LINK_LAYER, 0, '', 'resubmit(,%d)' % tables.CLAIM),
    ('disabled may speak', 0, tables.PRIORITY_PORT, 'in_port=%(off)d', None),
)


class Shot(NamedTuple):
    """A frame, what should become of it, and what did."""

    sketch: Sketch
    frame: bytes
    ruling: Ruling
    seen: Set[str]

    @property
    def leaked(self) -> Set[str]:
        """Who has seen it and must not."""
        return self.seen - self.ruling.may - self.ruling.must

    @property
    def lost(self) -> Set[str]:
        """Who must see it and has not."""
        return set(self.ruling.must) - self.seen

    def __str__(self) -> str:
        return '%r\n  seen by %s, may %s, must %s: %s' % (
            self.sketch, sorted(self.seen), sorted(self.ruling.may), sorted(self.ruling.must),
            self.ruling.why)


class Range:
    """The world with every port listening; frames are shot and judged."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.present = set(world.vms)
        self.tried = self.unmarked = self.left_out = self.demanded = 0
        self.passed = 0
        self.oracle = Oracle(self.present)
        self._wire = world.uplink._switch

    def shoot(self, batch: Sequence[Sketch]) -> List[Shot]:
        """Send sketches at once, collect, attribute."""
        self._introduce()
        shots, marks, bare = [], {}, {}     # type: ignore
        frames = sorted(((sketch, build(sketch)) for sketch in batch), key=_confuses)
        ears = Ears(self.world.dom0.ovs, [
            *((name, vm, 'eth0') for name, vm in self.world.vms.items()),
            (UPLINK, self._wire, 'uplink')], [(DOM0, 'xenbr0')])
        for number, (sketch, frame) in enumerate(frames):
            if any(name == 'cut' for name, _ in sketch.changes):
                if len(frame) < 14 or frame[12:] in bare:
                    self.left_out += 1
                    continue
                bare[frame[12:]] = len(shots)
                self.unmarked += 1
            else:
                marks[mark(number)] = len(shots)
                frame = marked(frame, number)
            shots.append(Shot(sketch, frame, self.judge(sketch, frame), set()))
            self.send(sketch.sender, frame)
            time.sleep(GAP_S)
        for place, heard in ears.collect().items():
            for frame in heard:
                at = frame.rfind(b'XSISO')
                index = marks.get(frame[at:at + 12]) if at >= 0 else bare.get(frame[12:])
                if index is not None and PARTIES[shots[index].sketch.sender].place != place:
                    shots[index].seen.add(place)
        self.tried += len(shots)
        self.demanded += sum(bool(shot.ruling.must) for shot in shots)
        self.passed += sum(bool(shot.seen) for shot in shots)
        return shots

    def judge(self, sketch: Sketch, frame: bytes) -> Ruling:
        """Return the oracle's ruling; a frame that lies about its length need not arrive."""
        ruling = self.oracle.rule(sketch.sender, frame)
        if not {name for name, _ in sketch.changes} & LENGTHS:
            return ruling
        return ruling._replace(may=ruling.may | ruling.must, must=frozenset())

    def send(self, sender: str, frame: bytes) -> None:
        """Send a frame out of a port, or into the uplink."""
        place = PARTIES[sender].place
        if place == UPLINK:
            self._wire.send(frame, 'uplink')
        elif place == DOM0:
            packets.send('xenbr0', frame)
        else:
            self.world.vms[sender].send(frame)

    def _introduce(self) -> None:
        """Tell the switch anew where everybody is whom no policy binds to a port."""
        for name in SENDERS:
            if PARTIES[name].mode in ('unmanaged', 'outside', 'gateway', 'locked'):
                who = PARTIES[name].who
                self.send(name, bytes(arp(who, 1, who.ip, who.ip)))
        time.sleep(0.02)

    def wrong(self, batch: Sequence[Sketch]) -> List[Shot]:
        """Return what has leaked, and what is lost again and again."""
        return [shot for shot in self.shoot(batch) if shot.leaked or (
            shot.lost and all(self.shoot([shot.sketch])[0].lost for _ in range(CONFIRMED)))]

    def shrink(self, shot: Shot) -> Shot:
        """Return the simplest frame that goes wrong the same way, one change less at a time."""
        for simpler in fewer(shot.sketch):
            again = self.shoot([simpler])
            if again and (again[0].leaked if shot.leaked else again[0].lost):
                return self.shrink(again[0])
        return shot

    def explain(self, shots: Sequence[Shot]) -> str:
        """Return failures in full: who, what, why, and what the switch did."""
        text = ['%d of %d frames went wrong' % (len(shots), self.tried)]
        text += [str(shot) for shot in shots]
        for shot in shots[:EXPLAINED]:
            small = self.shrink(shot)
            port = {UPLINK: 'eth0', DOM0: 'xenbr0'}.get(PARTIES[small.sketch.sender].place)
            ofport = 65534 if port == 'xenbr0' else self.world.dom0.ovs.ofport(
                port or self.world.vms[small.sketch.sender].netdev())
            text += ['', str(small), Ether(small.frame).show(dump=True), small.frame.hex(),
                     self.world.dom0.ovs.appctl('ofproto/trace', 'xenbr0', 'in_port=%d' % ofport,
                                                small.frame.hex())]
        return '\n'.join(text)


def _confuses(item: Tuple[Sketch, bytes]) -> bool:
    """Tell whether an unmanaged sender teaches the switch a wrong place: such go last."""
    sketch, frame = item
    return parse(frame).src not in PARTIES[sketch.sender].macs


@pytest.fixture(scope='module')
def field(dom0: Sandbox) -> Iterator[Range]:
    """The network with a party of each kind, everybody known."""
    world = World(dom0, names=VMS)
    world.prime()
    yield Range(world)


def generate(field: Range, number: int, batches: int, enough: int = 0) -> List[Shot]:
    """Send a run's frames; return what went wrong, after `enough` at once."""
    found: List[Shot] = []

    @seed(number)
    @settings(max_examples=batches, phases=[Phase.generate], database=None, deadline=None,
              suppress_health_check=list(HealthCheck))
    @given(st.lists(sketches(SENDERS, PEERS), min_size=BATCH, max_size=BATCH))
    def run(batch: List[Sketch]) -> None:
        if not enough or len(found) < enough:
            found.extend(field.wrong(list(dict.fromkeys(batch))))
    run()
    return found


def new_seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of this run: given, or new."""
    given_seed = request.config.getoption('--hypothesis-seed', None)
    return int(given_seed or random.SystemRandom().randrange(1 << 32))


@pytest.mark.random
def test_generated_frames(field: Range, request: pytest.FixtureRequest,
                          capsys: pytest.CaptureFixture[str]) -> None:
    number, began = new_seed(request), time.monotonic()
    field.tried = 0
    found = generate(field, number, BATCHES)
    with capsys.disabled():
        print('\n--hypothesis-seed=%d: %d frames in %.0f s, %d arrived, %d had to, %d unmarked, '
              '%d left out, %d wrong' % (number, field.tried, time.monotonic() - began,
                                         field.passed, field.demanded, field.unmarked,
                                         field.left_out, len(found)))
    assert not found, '--hypothesis-seed=%d\n%s' % (number, field.explain(found))
    assert field.tried >= BATCHES * BATCH * 2 // 3


def test_counterexamples_stay_away(field: Range) -> None:
    found = field.wrong([sketch for _, sketch in REGRESSIONS])
    assert not found, field.explain(found)


@pytest.mark.mutants
@pytest.mark.parametrize('what, table, priority, part, actions', SABOTAGE,
                         ids=[row[0].replace(' ', '-') for row in SABOTAGE])
def test_sabotage_is_found(field: Range, what: str, table: int, priority: int, part: str,
                           actions: Optional[str]) -> None:
    ovs = field.world.dom0.ovs
    part %= {'off': ovs.ofport(field.world.vms['off'].netdev())}
    with broken(ovs, 'xenbr0', find_flows(ovs, 'xenbr0', table, priority, part), actions):
        tried = field.tried
        # Chance decides: what one run misses another must find.
        numbers = [random.SystemRandom().randrange(1 << 32) for _ in range(5)]
        assert any(generate(field, number, SABOTAGE_BATCHES, 1) for number in numbers), numbers
        print('%s: found among %d frames' % (what, field.tried - tried))
