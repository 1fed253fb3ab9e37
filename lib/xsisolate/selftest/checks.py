"""What is tried on the scene, one area after the other."""
from time import monotonic, sleep
from typing import Callable, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from xsisolate.diagnostics.counters import read_counters
from xsisolate.dom0.ovs.switch_features import count_datapath_flows
from xsisolate.dom0.ovs.trial_bridge import TRIAL_BRIDGE
from xsisolate.openflow.flow import diff_flows
from xsisolate.planner.drop_counts import Drops
from xsisolate.selftest import frames
from xsisolate.selftest.attacks import STRANGER, attacks, conversations
from xsisolate.selftest.corpus import ATTACK, read_corpus
from xsisolate.selftest.parties import EVERYBODY, Party
from xsisolate.selftest.probes import (Probe, Said, Tried, answers, cells, find_probes, make_place,
                                       questions, resolutions, say)
from xsisolate.selftest.radio import BATCH, Verdict
from xsisolate.selftest.report import PASSES, STOPPED, Measured, Outcome, first_of
from xsisolate.selftest.rows import Row
from xsisolate.selftest.scene import Scene
from xsisolate.selftest.speed import Speed
from xsisolate.selftest.steady_stream import SteadyStream

Step = Callable[[], None]
MEMBER, MATE = EVERYBODY['red1'], EVERYBODY['red2']
FORGED = ISOLATED = 20      # frames of either kind that must be counted
COUNTED_S = 6.0             # until the switch has brought its counts up to date
PAUSE_S = 0.25
CHANGED_S = 2.0             # until the switch has gone through what it has cached
EXTRA = dict(MEMBER.policy or {}, allow='external 192.0.2.77')
MOVED = {'groups': 'blue'}
PORT = 6000


class Reached(NamedTuple):
    """Who reached whom."""

    tried: Tuple[Tried, ...]
    outcomes: Tuple[Outcome, ...]


def plug_all(scene: Scene) -> Iterator[Outcome]:
    """Plug everybody; yield whether each has the mode that its policy means."""
    for party in scene.parties:
        mode = scene.plug(party).vif.policy.mode.word
        wanted = _mode(party)
        yield Outcome('plug', party.name, wanted, mode, mode == wanted)


def _mode(party: Party) -> str:
    if party.policy is None:
        return 'unlocked'
    return {'bogus': 'quarantined'}.get(party.policy.get('mode', ''),
                                        party.policy.get('mode', 'isolated'))


def reach(scene: Scene, parties: Sequence[Party], step: Step) -> Reached:
    """Have each try to reach each other."""
    place = make_place(scene.host.configuration.config, scene.vifs)
    probes = find_probes(parties)
    said: Mapping[Probe, Said] = {probe: say(place, probe) for probe in probes}
    tried: Tuple[Tried, ...] = ()
    for start in range(0, len(probes), BATCH):
        # Batch by batch: an answer must follow before its question is forgotten.
        asked = scene.radio.play(questions(probes, said, start, BATCH), step)
        answered = scene.radio.play(answers(probes, said, start, BATCH), step)
        tried += tuple(Tried(probe, said[probe], question, answer) for probe, question, answer
                       in zip(probes[start:start + BATCH], asked, answered))
    resolved = scene.radio.play(resolutions(parties, said, scene.places), step)
    pairs = cells(tried)
    bad = [pair for pair, those in pairs.items() if any(one.wrong for one in those)]
    outcomes = [
        Outcome('reachability', '%d pairs, %d probes (ping, udp/53, tcp/22; IPv4, IPv6)'
                % (len(pairs), len(tried)), 'as policies say', '%d pairs otherwise' % len(bad)
                if bad else 'the same', not bad)]
    outcomes += [Outcome('reachability', str(one.probe), _said(one.said), one.wrong, False)
                 for one in tried if one.wrong]
    outcomes += _judged('reachability', '%d questions for MAC addresses (ARP, ND)', resolved)
    return Reached(tried, tuple(outcomes))


def _said(said: Said) -> str:
    return '%s (%s)' % (PASSES if said.answered else STOPPED, said.because)


def _judged(area: str, title: str, verdicts: Sequence[Verdict]) -> List[Outcome]:
    """Return how many rows went as they should, and those that did not."""
    bad = [verdict for verdict in verdicts if verdict.wrong]
    return [Outcome(area, title % len(verdicts), 'as policies say', '%d otherwise' % len(bad)
                    if bad else 'the same', not bad)] + [
        Outcome(area, verdict.row.id, 'seen by %s' % first_of(sorted(verdict.row.seen_by))
                if verdict.row.seen_by else STOPPED, verdict.wrong, False) for verdict in bad]


def attack(scene: Scene) -> Iterator[Outcome]:
    """Try the eight attacks."""
    for one in attacks(scene.places):
        verdicts = scene.radio.play(one.rows)
        bad = [verdict for verdict in verdicts if verdict.wrong]
        places = sorted({place for verdict in verdicts for place in verdict.leaks})
        yield Outcome('attacks', one.title, STOPPED, 'GOT THROUGH to ' + first_of(places)
                      if places else bad[0].wrong if bad else STOPPED, not bad)


def converse(scene: Scene) -> List[Outcome]:
    """Try UDP answers, which only those that were asked for may give."""
    return _judged('connection tracking', '%d UDP answers, asked for and not',
                   scene.radio.play(conversations()))


def change(scene: Scene) -> Iterator[Outcome]:
    """Give a party another group and its own again: what passes changes with it.

    The switch may judge by verdicts that it has cached for a moment longer.
    """
    for what, party, passes in (('red2 leaves the group', MATE._replace(policy=MOVED), False),
                                ('red2 is in the group again', MATE, True)):
        scene.change(party)
        yield follow(scene, 'change of policy', what, datagram(MATE, MEMBER), MEMBER, passes)


def follow(scene: Scene, area: str, what: str, row: Row, target: Party, passes: bool) -> Outcome:
    """Send a row until its target sees it, or does not: what follows a change of policy."""
    seen, end = not passes, monotonic() + CHANGED_S
    while seen is not passes and monotonic() < end:
        seen = target.name in scene.radio.play([row])[0].seen
    return Outcome(area, what, PASSES if passes else STOPPED, PASSES if seen else STOPPED,
                   seen is passes)


def datagram(source: Party, target: Party, source_port: int = PORT,
             target_port: int = PORT) -> Row:
    """Return a row of one datagram."""
    return Row('a datagram', source.name, (frames.framed(source.mac, target.mac, frames.udp(
        source.ipv4, target.ipv4, source_port, target_port)),))


def refresh(scene: Scene, times: int) -> Tuple[Outcome, Measured]:
    """Change and refresh a VIF while frames run; none may be lost."""
    taken: List[float] = []
    with SteadyStream(scene.radio, MEMBER, MATE) as stream:
        for number in range(times):
            began = monotonic()
            scene.change(MEMBER._replace(policy=EXTRA) if number % 2 == 0 else MEMBER)
            taken.append((monotonic() - began) * 1000)
        scene.change(MEMBER)
        sleep(PAUSE_S)
    return (Outcome('refresh', '%d frames during %d changes of a policy' % (stream.sent, times + 1),
                    'none lost', '%d lost' % stream.lost if stream.lost else 'none lost',
                    stream.sent > 0 and not stream.lost),
            Measured('refresh', tuple(taken), 'ms'))


def count(scene: Scene) -> Iterator[Outcome]:
    """Have frames dropped, and read the counters."""
    vif = MEMBER.vif
    assert vif
    before = read_counters(TRIAL_BRIDGE).get(vif, Drops(0, 0))
    forged = frames.framed(MEMBER.mac, MATE.mac, frames.udp(STRANGER.ipv4, MATE.ipv4, PORT, PORT))
    for _ in range(FORGED):
        scene.radio.send(MEMBER.name, forged)
    stranger = datagram(MEMBER, STRANGER).frames[0]
    for _ in range(ISOLATED):
        scene.radio.send(MEMBER.name, stranger)
    wanted, found = Drops(FORGED, ISOLATED), Drops(0, 0)
    end = monotonic() + COUNTED_S
    while found != wanted and monotonic() < end:
        sleep(PAUSE_S)
        now = read_counters(TRIAL_BRIDGE).get(vif, Drops(0, 0))
        found = Drops(now.spoofed - before.spoofed, now.isolated - before.isolated)
    for what, more, most in (('forged frames', found.spoofed, FORGED),
                             ('frames to a stranger', found.isolated, ISOLATED)):
        yield Outcome('counters', what, '%d counted' % most, '%d counted' % more, more == most)


def play_corpus(scene: Scene, step: Step) -> Iterator[Outcome]:
    """Send the whole corpus, family by family."""
    for family in read_corpus(scene.places):
        scene.introduce()
        rows = [row for row in family.rows if row.frames and scene.radio.can_play(row)]
        verdicts = scene.radio.play(rows, step)
        yield from _judged('corpus', '%s, %s: %%d rows, %d frames' % (
            'attacks' if family.kind == ATTACK else 'legitimate', family.name,
            sum(len(row.frames) for row in rows)), verdicts)


def converse_as_guests(speeds: Mapping[str, Speed]) -> Outcome:
    """Tell whether a managed pair could talk by the kernel's own stack, at whatever speed."""
    speed = speeds['managed']
    silent = [what for what, value in (('TCP', speed.throughput), ('UDP', speed.latency))
              if not value]
    return Outcome('IP stacks', '%s and %s, TCP and UDP' % (MEMBER.name, MATE.name), PASSES,
                   'nothing arrives: ' + ', '.join(silent) if silent else PASSES, not silent)


def compare(scene: Scene) -> Outcome:
    """Read all flows: they are what a fresh plan says, whatever was sent and changed."""
    before = scene.flows()
    for party in scene.parties:
        scene.refresh(party)
    diff = diff_flows(scene.flows(), before)
    changed = len(diff.add) + len(diff.delete)
    return Outcome('flows', '%d flows after everything' % len(before), 'as programmed',
                   '%d changed' % changed if changed else 'as programmed', not changed)


def sizes(scene: Scene) -> Iterator[Measured]:
    """Yield how many flows there are."""
    yield Measured('flows of ours on the bridge', (len(scene.flows()),), '')
    yield Measured('rows sent once more', (scene.radio.repeated,), '')
    yield Measured('verdicts in the datapath', (count_datapath_flows(TRIAL_BRIDGE),), '')


def unplug_all(scene: Scene) -> Outcome:
    """Unplug everybody; no flow may be left."""
    for party in scene.parties:
        scene.unplug(party)
    left = len(scene.flows())
    return Outcome('unplug', '%d VIFs leave' % len(scene.parties), 'no flow left',
                   '%d flows left' % left if left else 'no flow left', not left)
