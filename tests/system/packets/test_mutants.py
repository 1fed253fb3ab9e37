"""The corpus notices the loss of any flow: each is taken off the bridge in turn.

Of every row it is known, by ofproto/trace, which flows its frames meet. Without a
flow only rows that meet it can go another way, so only some of those are sent. A
mutant is caught when a row goes wrong twice without the flow, and right with it.
What the equivalence of flows proves unnoticeable is not tried, but counted; of
the rest SHARE must be caught, and each survivor must be explained.
"""
import random
import time
from contextlib import closing
from typing import (
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Sequence,
    Set,
    Tuple,
)

import pytest
from sandbox.host import Host
from sandbox.dom0 import Sandbox
from xsisolate.pipeline import tables
from xsisolate.pipeline.peer_lookup import OWNERS_MAX

from support.packets import attacks, each_vif, legit
from support.packets.rows import Case, attack
from support.packets.rows import legit as positive
from support.packets.flow_equivalence import Place, Row, effects, parse_row, parse_trace, proof
from support.packets.frames import NOBODY, arp, eth, is_at, na, ns, ping, ping6, udp
from support.packets.open_radio import Here, Mode, OpenRadio
from support.packets.check_rows import select
from support.packets.radio import Sightings, Station, verdict
from support.packets.broken_pipeline import broken, put_flows
from support.packets.shared_network import Who, World, vm_mac

BRIDGE = 'xenbr0'
FOREIGN = 'foreign: '
ALLOW = 'priority=100,ip,actions=NORMAL'     # a foreign flow; it does not meet ARP and ND
SHARED = '10.9.0.222'
# Members of every group, to be found next to those who are alone in theirs.
MORE = (('omni', 69, 'blue, red, svc, outer, north, east'), ('twin1', 73, 'red'),
        ('twin2', 74, 'red'), ('twin3', 75, 'red'))
SHARE = 0.95
ROWS, FRAMES = 40, 150      # sent at once to ask about a mutant
TRIES = 2                   # to find the rows that cannot be used
BUNDLES = 4                 # asked before a mutant has survived
CONFIRMED = 6               # rows that are sent again
PROGRESS = 50
DEADLINE_S = 1100           # for all; a quiet machine needs about half


class Explained(NamedTuple):
    """Survivors: flows that are met by no frame, or whose loss changes nothing."""

    table: int
    priority: int
    part: str
    why: str


NO_OWNER = 'nobody owns such an address, so CLAIM refuses it as well'
NO_GATEWAY_MAC = 'for networks whose gateway has no MAC address: test_infrastructure.py'
NO_MACS = 'for VIFs with additional MAC addresses: test_additional_macs.py'
GATEWAY_KNOWN = 'RESOLVE knows the gateway\'s MAC address: CLASSIFY refuses any other as well'
EXPLAINED: Tuple[Explained, ...] = (
    Explained(tables.GUARD, 185, '', NO_OWNER),
    Explained(tables.GUARD, 180, 'icmp6', 'of a fragment the switch does not tell the ICMPv6 type, '
              'so 150 refuses it as well'),
    Explained(tables.BIND, 120, 'icmp_type=136', NO_OWNER),
    Explained(tables.CLAIM, 105, '', NO_OWNER),
    Explained(tables.MULTICAST, 180, 'icmp_type=134', NO_GATEWAY_MAC),
    Explained(tables.MULTICAST, 100, '', 'GUARD passes only ARP and IP, and 110 to 155 take both'),
    Explained(tables.SOUGHT, 100, '', 'whoever seeks meets no veto: REMOTE answers with FOUND, and '
              'those of PARTY and CLASSIFY need an owner, or the MAC address of a VIF'),
    Explained(tables.EGRESS, 190, '', 'for networks of which the configuration names no subnets'),
    Explained(tables.INGRESS, 190, 'icmp_type=134', NO_GATEWAY_MAC),
    Explained(tables.INGRESS, 180, 'icmp_type=134', NO_GATEWAY_MAC),
    Explained(tables.INGRESS, 95, '', 'of managed VIFs GUARD refuses it; for others: '
              'test_ovs_trace.py'),
    Explained(tables.ACCEPT, 15, '', 'only IP is tracked'),
    *(Explained(tables.REPLY, priority, '', 'for VIFs that came by migration: test_connections.py')
      for priority in (5, 6)),
    Explained(tables.DELIVER, 33, '', 'spares NORMAL a frame that it might flood right after a '
              'flush: test_flows_in_use_survive_a_flush'),
    Explained(tables.REMOTELY, 10, '', 'for VLANs: test_vlan.py'),
    Explained(tables.ANNOUNCE, 10, '', 'for VLANs: test_vlan.py'),
    Explained(tables.ANNOUNCE, 100, '', 'while a VM migrates in: test_migration.py'),
    Explained(tables.PARTY, 60, 'reg11=0x5e000101', 'SOURCE 45 has refused that MAC address'),
    Explained(tables.PARTY, 60, 'reg14', GATEWAY_KNOWN),
    Explained(tables.PARTY, 45, '', GATEWAY_KNOWN),
    *(Explained(tables.CLASSIFY, 45, 'reg11=%#x,' % number, 'it admits nobody whose policy names '
                'an address that is nobody\'s, and is asked as well')
      for number in (60, 61, 62, 63, 64, 69)),
    Explained(tables.CLASSIFY, 30, 'reg4=0xfe800000/', 'where a gateway has a MAC address 10 and '
              '65 take these: test_infrastructure.py'),
    *(Explained(table, priority, 'reg14=%#x/0x1f00' % (owner << 8), 'no address has so many owners '
                'here: test_sharing.py')
      for table, priority in ((tables.CLASSIFY, 40), (tables.SOUGHT, 50))
      for owner in range(3, OWNERS_MAX)),
    Explained(tables.RULES, 10, 'sctp', 'the datapath in user space does not track SCTP'),
    Explained(tables.LINK_LAYER, 0, '', NO_MACS),
    Explained(tables.PLACE, 0, '', NO_MACS),
    Explained(tables.PEERS, 100, '', 'of an answer to a claim only PAIR counts'),
)


class Outcome(NamedTuple):
    """What became of a mutant."""

    row: Row
    met: int                # rows that meet the flow
    caught_by: str = ''
    proof: str = ''


class Field:
    """The world, its bridge's flows, and which rows meet which."""

    def __init__(self, world: World, more: Sequence[Station], silent: Sequence[Station],
                 cases: Sequence[Case]) -> None:
        world.prime()
        self.ovs = world.dom0.ovs
        self.cases = {case.id: case for case in cases}
        self.radio = OpenRadio(world, more, silent)
        self.before = self.ovs.dump_flows(BRIDGE)
        self.rows = [row for row in map(parse_row, self.before)
                     if row.table != tables.REGISTRY]
        self._ofports = {name: self.ovs.ofport(station.netdev)
                         for name, station in self.radio.stations.items()}
        self.unfit: Dict[Mode, Set[str]] = {}

    def trace(self) -> Dict[Place, List[Case]]:
        """Return, by flow, the rows of which a frame meets it."""
        met: Dict[Place, List[Case]] = {}
        for case in self.cases.values():
            frames = [*case.steps, *((case.sender, frame) for frame in case.frames)]
            for place in frozenset().union(*(self._places(*frame) for frame in frames)):
                met.setdefault(place, []).append(case)
        return met

    def _places(self, sender: str, frame: bytes) -> FrozenSet[Place]:
        # its connection has the label of every bridge
        where = 'in_port=%d,ct_state=trk,ct_label=0x%s' % (self._ofports[sender], 'f' * 32)
        words = ('ofproto/trace', BRIDGE, where, frame.hex())
        text = self.radio.appctl(*words)
        if 'ct(' in text:       # as the first of its connection, as a reply, and as TFTP's data
            text += self.radio.appctl(*words, '--ct-next', 'trk,est,rpl')
            text += self.radio.appctl(*words, *('--ct-next', 'trk,new,rel') * 2)
            text += self.radio.appctl(*words, '--ct-next', 'trk,est,rel')
        return parse_trace(text)

    def usable(self, names: Iterable[str], mode: Mode) -> List[Case]:
        """Return the rows that can notice something in a mode."""
        return [self.cases[name] for name in names
                if name.startswith(FOREIGN) == (mode == Mode.FOREIGN)
                and name not in self.unfit.get(mode, ())]

    def wrong(self, names: Iterable[str], mode: Mode) -> Dict[str, str]:
        """Send the rows that can be used in a mode; return what is wrong, by row."""
        cases = self.usable(names, mode)
        self.radio.mode = mode
        seen: Sightings = {}
        if mode == Mode.FOREIGN:
            self.ovs.add_flow(BRIDGE, ALLOW)
            for case in cases:
                seen.update(self.radio.run([case]))
        else:
            seen = self.radio.run(cases)
        verdicts = {case.id: verdict(case, seen[case.id]) for case in cases}
        return {name: why for name, why in verdicts.items() if why}

    def calibrate(self) -> None:
        """Find the rows that go wrong already: those can notice nothing."""
        for mode in Mode:
            put_flows(self.ovs, BRIDGE, self.before)
            names: Iterable[str] = self.cases
            for _ in range(TRIES):
                names = self.wrong(names, mode)
            self.unfit[mode] = set(names)

    def hunt(self, row: Row, met: Sequence[Case], chance: random.Random) -> Outcome:
        """Take a flow away; ask the rows that meet it whether they notice."""
        for bundle in bundles(met, chance):
            for mode in (Mode.GREETED, Mode.FORGETFUL):
                caught_by = self._notice(row, bundle, mode)
                if caught_by:
                    return Outcome(row, len(met), caught_by)
        return Outcome(row, len(met), self._notice(row, [case.id for case in met], Mode.FOREIGN))

    def _notice(self, row: Row, bundle: Sequence[str], mode: Mode) -> str:
        """Return a row that goes wrong twice without a flow, and right with it."""
        if not self.usable(bundle, mode):
            return ''
        put_flows(self.ovs, BRIDGE, self.before)
        with broken(self.ovs, BRIDGE, [row.line]):
            again = self.wrong(list(self.wrong(bundle, mode))[:CONFIRMED], mode)
        still = self.wrong(again, mode) if again else {}
        return next(('%s: %s' % (name, why) for name, why in again.items() if name not in still),
                    '')


def bundles(cases: Sequence[Case], chance: random.Random) -> Iterator[List[str]]:
    """Yield some of the rows at a time, first of all one of each family and sender."""
    left = list(cases)
    chance.shuffle(left)
    turns: Dict[Tuple[str, str], int] = {}
    order = []
    for case in left:
        key = case.id.split(': ')[0], case.sender
        turns[key] = turns.get(key, 0) + 1
        order.append((turns[key], case.id, len(case.frames)))
    order.sort(reverse=True)
    for _ in range(BUNDLES):
        bundle, frames = [], 0
        while order and len(bundle) < ROWS and frames < FRAMES:
            _, name, count = order.pop()
            bundle.append(name)
            frames += count
        if bundle:
            yield bundle


def extras(w: Mapping[str, Who]) -> Iterator[Case]:
    """Yield what only the parties can try that are in no other test's world."""
    stray, un, lan, omni, far, host, red1 = (w[name] for name in (
        'stray', 'un', 'lan', 'omni', 'bluefar', 'host', 'red1'))
    added = tuple(name for name, _, _ in MORE)
    for name in each_vif.SPEAKING + ('red3', 'quar', 'off') + added:
        if name not in each_vif.LOCKED:
            yield attack('stray: to ' + name, 'stray', ping(stray, w[name]), ping6(stray, w[name]))
        yield attack('stray: as ' + name, 'stray', eth(w[name], un) / ping(stray, un).payload)
    yield positive('stray: to un', 'stray', 'un', ping(stray, un))
    yield positive('host: allowed', 'host', 'wide', ping(host, w['wide']))
    # its allow list names an address that is, by MAC address, a member's of another host
    yield attack('omni: veto', 'lan', eth(lan, omni) / ping(far, omni).payload,
                 na(lan, far.ip6, omni))
    yield attack('omni: veto of its own', 'omni', eth(omni, lan) / ping(omni, far).payload)
    yield positive('omni: allowed', 'omni', 'uplink', ping(omni, lan), ping6(omni, lan))
    yield positive('omni: allows', 'lan', 'omni', ping(lan, omni), ping6(lan, omni))
    for name in ('red1', 'red2', 'red3', 'blue1', 'blue2', 'svc1', 'svc2', 'outer', 'north',
                 'south', 'east', *added):
        you = w[name]
        if name != 'omni':
            yield positive('omni: to ' + name, 'omni', name, ping(omni, you))
            yield positive('omni: from ' + name, name, 'omni', ping(you, omni))
            # an allowed address that is nobody's
            yield attack('omni: MAC of ' + name, 'omni', eth(omni, you) / ping(
                omni, w['nowhere']).payload)
        if name in ('outer', 'east', *added):
            yield positive('omni: mDNS of ' + name, name, 'omni' if name in ('outer', 'east') else (
                'red1', 'red2', 'red3', *(one for one in added if one != name)),
                each_vif.mdns(you), may=each_vif.ISOLATED if name == 'omni' else ())
    for name in added:
        you = w[name]
        yield attack('added: taken, ' + name, 'evil', eth(you, un) / ping(you, un).payload)
        yield attack('added: un to ' + name, 'un', ping(un, you), ping6(un, you))
        yield positive('added: shared, ' + name, name, 'red2', udp(you, w['red2'], src=SHARED))
    yield positive('added: asked for', 'red1', added, arp(red1, 1, red1.ip, SHARED))
    yield attack('added: shared, un', 'un', udp(un, red1, src=SHARED))
    yield from each_vif.speech(w, ('red3', *added))
    yield from foreign(w['red1'], w['red2'], w['redfar'])


def foreign(a: Who, b: Who, far: Who) -> Iterator[Case]:
    """Yield rows that a foreign flow's NORMAL switches; a step tells it where the receiver is."""
    for what, step in (
            ('ARP', is_at(b, a)), ('NS', ns(b, a.ip6, a)), ('NA', na(b, b.ip6, a)),
            ('ARP aloud', arp(b, 1, b.ip, b.ip)), ('DAD', ns(b, b.ip6, ip='::', sll=False)),
            ('NA aloud', na(b, b.ip6)),
            ('ARP to the uplink', is_at(b, far)), ('NS to the uplink', ns(b, far.ip6, far)),
            ('NA to the uplink', na(b, b.ip6, far))):
        yield positive(FOREIGN + what, a.name, b.name, ping(a, b), steps=[(b.name, step)])


@pytest.fixture(scope='module')
def field(dom0: Sandbox) -> Iterator[Field]:
    """The corpus's world, and who can try what nobody tries there."""
    world = World(dom0)
    cases = [case for families in (legit.FAMILIES, each_vif.LEGIT, attacks.FAMILIES,
                                   each_vif.ATTACKS)
             for case in select(families, world, families)]
    who = {**world.who, 'stray': Who('stray', 98, '02:00:00:00:00:62'),
           'host': Who('host', 33, '02:00:00:00:00:fd'), 'nowhere': Who('nowhere', 97, NOBODY),
           **{name: Who(name, number, vm_mac(number)) for name, number, _ in MORE}}
    more = []
    for name, _, groups in MORE:
        me = who[name]
        vm = dom0.start_vm(name, bridge=BRIDGE, mac=me.mac, ipv4=me.ip + '/24', ipv6=me.ip6 + '/64',
                           policy={'groups': groups, 'vif/0/ipv4': '%s %s' % (me.ip, SHARED),
                                   'vif/0/ipv6': me.ip6, **({
                                       'allow': '10.9.0.96/28 fd00:9::60/124'}
                                       if name == 'omni' else {})})
        more.append(Station(name, vm, 'eth0', BRIDGE, vm.netdev()))
    added = tuple(name for name, _, _ in MORE)
    stray = Host('stray')
    try:
        # a port that appeared without a hook
        stray.add_device('eth0', 'vif99.0', who['stray'].mac)
        stray.configure('eth0')
        dom0.add_port(BRIDGE, 'vif99.0')
        field = Field(world, more, [Station('stray', stray, 'eth0', BRIDGE, 'vif99.0'),
                                    Station('host', Here(), BRIDGE, BRIDGE, BRIDGE)],
                      [*(case._replace(may=case.may + added) for case in cases), *extras(who)])
        with closing(field.radio):
            yield field
    finally:
        stray.halt()


def explanation(row: Row) -> str:
    """Return why a flow's loss may go unnoticed, empty if it may not."""
    return next((entry.why for entry in EXPLAINED if (entry.table, entry.priority) == (
        row.table, row.priority) and entry.part in row.match), '')


def summary(outcomes: Sequence[Outcome]) -> List[str]:
    """Return what became of the mutants, a line for each table and one for all."""
    lines = ['%-16s %8s %10s %8s %9s' % ('table', 'mutants', 'equivalent', 'caught', 'survivors')]
    names = {value: name for name, value in vars(tables).items()
             if name.isupper() and isinstance(value, int) and 200 <= value <= tables.RESUMED}
    for table in [*sorted({outcome.row.table for outcome in outcomes}), None]:
        of = [outcome for outcome in outcomes if table in (None, outcome.row.table)]
        proven, caught = sum(bool(o.proof) for o in of), sum(bool(o.caught_by) for o in of)
        lines.append('%-16s %8d %10d %8d %9d' % (
            'all' if table is None else '%d %s' % (table, names.get(table, '')), len(of), proven,
            caught, len(of) - proven - caught))
    return lines


@pytest.mark.mutants
def test_every_flow_is_missed(field: Field, request: pytest.FixtureRequest,
                              capsys: pytest.CaptureFixture[str]) -> None:
    def say(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)
    number = int(request.config.getoption('--hypothesis-seed', None)
                 or random.SystemRandom().randrange(1 << 32))
    chance, began = random.Random(number), time.monotonic()
    met = field.trace()
    say('\n--hypothesis-seed=%d: %d rows traced, %d of %d flows met, %.0f s' % (
        number, len(field.cases), len(met.keys() & {row.place for row in field.rows}),
        len(field.rows), time.monotonic() - began))
    field.calibrate()
    say('cannot be used: %s; %d when nobody is known; %.0f s' % (
        sorted(field.unfit[Mode.GREETED] | field.unfit[Mode.FOREIGN]),
        len(field.unfit[Mode.FORGETFUL]), time.monotonic() - began))
    does = effects(field.rows)
    outcomes: List[Outcome] = []
    for row in field.rows:
        rows = met.get(row.place, [])
        proven = proof(row, field.rows, does)
        outcomes.append(Outcome(row, len(rows), proof=proven) if proven
                        else field.hunt(row, rows, chance))
        seconds = time.monotonic() - began
        if len(outcomes) % PROGRESS == 0:
            say('%4d of %d mutants, %d caught, %d equivalent, %d survivors, %.0f s' % (
                len(outcomes), len(field.rows), sum(bool(o.caught_by) for o in outcomes),
                sum(bool(o.proof) for o in outcomes),
                sum(not o.caught_by and not o.proof for o in outcomes), seconds))
        assert seconds < DEADLINE_S, 'too slow: %d of %d mutants' % (len(outcomes),
                                                                     len(field.rows))
    tried = [outcome for outcome in outcomes if not outcome.proof]
    survivors = [outcome for outcome in tried if not outcome.caught_by]
    say('\n'.join(summary(outcomes)))
    for outcome in survivors:
        say('survived, met by %d rows: %s\n    %s' % (
            outcome.met, outcome.row.line, explanation(outcome.row) or 'UNEXPLAINED'))
    say('%.1f %% of %d mutants were caught, in %.0f s' % (
        100 - 100 * len(survivors) / len(tried), len(tried), time.monotonic() - began))
    assert not [outcome.row.line for outcome in survivors if not explanation(outcome.row)]
    assert len(survivors) <= (1 - SHARE) * len(tried)
