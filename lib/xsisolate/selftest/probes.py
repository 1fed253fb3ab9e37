"""Every pair, both families: a question, its answer, and what policies say of both.

What they say is asked where `xsisolate explain` asks it (diagnostics/passage.py): of policies, not
of flows.
"""
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from xsisolate.diagnostics.ends import End, Place
from xsisolate.diagnostics.passage import Step, judge
from xsisolate.dom0.ovs.trial_bridge import TRIAL_BRIDGE
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.vif import Vif
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.admission import Talk
from xsisolate.policy.model import Config, RemoteMember
from xsisolate.selftest import frames
from xsisolate.selftest.parties import (EVERYBODY, GATEWAY, NETWORK_UUID, OUTSIDE, REMOTE, UPLINK,
                                        Party)
from xsisolate.selftest.radio import Verdict
from xsisolate.selftest.rows import Row

PING, UDP, TCP, RESOLVE = 'ping', 'udp', 'tcp', 'resolve'
KINDS = (PING, UDP, TCP)
VERSIONS = (4, 6)
CLIENT_PORT = 40000         # and above: each probe has a port of its own
SERVER_PORTS = {UDP: 53, TCP: 22}


class Probe(NamedTuple):
    """One way to try whether one party reaches another."""

    source: str
    target: str
    kind: str               # ping, udp, tcp
    version: int            # 4 or 6

    def __str__(self) -> str:
        port = '/%d' % SERVER_PORTS[self.kind] if self.kind in SERVER_PORTS else ''
        return '%s to %s: %s%s, IPv%d' % (self.source, self.target, self.kind, port, self.version)


class Said(NamedTuple):
    """What policies say of a probe: do question and answer pass, and why not?"""

    asked: bool
    answered: bool
    because: str


class Tried(NamedTuple):
    """A probe, what policies say of it, and what became of it."""

    probe: Probe
    said: Said
    asked: Verdict
    answered: Verdict

    @property
    def passed(self) -> bool:
        """Tell whether the question arrived, and the answer came back."""
        return bool(self.asked.seen) and bool(self.answered.seen)

    @property
    def wrong(self) -> str:
        """What is not as policies say, empty if nothing."""
        return '; '.join('%s %s' % (what, verdict.wrong) for what, verdict in (
            ('question', self.asked), ('answer', self.answered)) if verdict.wrong)


def find_pairs(parties: Sequence[Party]) -> Iterator[Tuple[Party, Party]]:
    """Yield who tries to reach whom; on the LAN this host has no say."""
    for source in parties:
        for target in parties:
            if source != target and (source.vif or target.vif):
                yield source, target


def find_probes(parties: Sequence[Party]) -> List[Probe]:
    """Return every way in which each tries to reach each other."""
    return [Probe(source.name, target.name, kind, version)
            for source, target in find_pairs(parties) for kind in KINDS for version in VERSIONS]


# --- what policies say -----------------------------------------------------------------------


def make_place(config: Config, vifs: Mapping[str, Vif]) -> Place:
    """Return the network as passages see it; `vifs` by their party's name."""
    members = {group: (_member(EVERYBODY[name]),) for group, name in REMOTE.items()}
    return Place(TRIAL_BRIDGE, TRIAL_BRIDGE, NETWORK_UUID, NETWORK, config.networks[TRIAL_BRIDGE],
                 config.groups, tuple(sorted(vifs.items())), members)


def _member(party: Party) -> RemoteMember:
    return RemoteMember(NETWORK_UUID, party.mac, frozenset(map(parse_prefix, (
        party.ipv4, party.ipv6, party.link_local))))


def say(place: Place, probe: Probe) -> Said:
    """Return what policies say of a probe."""
    vifs = dict(place.vifs)
    source, target = (_end(EVERYBODY[name], probe.version, vifs)
                      for name in (probe.source, probe.target))
    question = _talk(probe)
    steps = judge(place, source, target, question)
    asked = steps[-1].admits
    answer = question._replace(source=question.destination, destination=question.source,
                               answer=True)
    back = judge(place, target, source, answer, asked)
    return Said(asked, back[-1].admits, _reason(steps if not asked else back))


def _reason(steps: Sequence[Step]) -> str:
    last = steps[-1]
    return '%s, %s: %s' % (last.who, last.side, last.because)


def _talk(probe: Probe) -> Talk:
    if probe.kind == PING:
        return Talk('icmp' if probe.version == 4 else 'icmp6')
    return Talk(probe.kind, CLIENT_PORT, SERVER_PORTS[probe.kind])


def _end(party: Party, version: int, vifs: Mapping[str, Vif]) -> End:
    vif = vifs.get(party.name)
    gateway = party.name in (GATEWAY, OUTSIDE)
    return End(party.name, parse_prefix(party.address(version)), party.mac, vif, gateway,
               '' if vif else 'by its part in the self-test')


# --- frames -----------------------------------------------------------------------------------


def questions(probes: Sequence[Probe], said: Mapping[Probe, Said], first: int,
              count: int) -> Iterator[Row]:
    """Yield a row for the question of each of some probes."""
    for number, probe in enumerate(probes[first:first + count], first):
        yield _row(probe, probe.source, probe.target, said[probe].asked, _packet(
            probe, number, False))


def answers(probes: Sequence[Probe], said: Mapping[Probe, Said], first: int,
            count: int) -> Iterator[Row]:
    """Yield a row for the answer to each, which is sent whether or not the question came."""
    for number, probe in enumerate(probes[first:first + count], first):
        yield _row(probe, probe.target, probe.source, said[probe].answered, _packet(
            probe, number, True))


def _row(probe: Probe, sender: str, receiver: str, passes: bool, packet: bytes) -> Row:
    here, there = EVERYBODY[sender], EVERYBODY[receiver]
    return Row(str(probe), sender, (frames.framed(here.mac, there.mac, packet),),
               frozenset([there.place] if passes else []))


def _packet(probe: Probe, number: int, answer: bool) -> bytes:
    source, target = (EVERYBODY[name].address(probe.version)
                      for name in (probe.source, probe.target))
    ports = CLIENT_PORT + number, SERVER_PORTS.get(probe.kind, 0)
    if answer:
        source, target, ports = target, source, (ports[1], ports[0])
    if probe.kind == PING:
        return frames.echo(source, target, answer)
    if probe.kind == UDP:
        return frames.udp(source, target, *ports)
    return frames.tcp(source, target, *ports, frames.SYN | (frames.ACK if answer else 0))


def resolutions(parties: Sequence[Party], said: Mapping[Probe, Said],
                places: FrozenSet[str]) -> Iterator[Row]:
    """Yield who asks for whose MAC address: found by those who may say something to them.

    Any VIF may find a gateway, and what is asked aloud may go to the LAN: of these no row says
    that they must not. Where a question goes besides, attacks and corpus try.
    """
    for source, target in find_pairs(parties):
        if OUTSIDE in (source.name, target.name):
            continue
        for version in VERSIONS:
            # whichever of them may begin, the other must find it, too
            peers = any(said[Probe(one.name, other.name, kind, version)].asked for kind in KINDS
                        for one, other in ((source, target), (target, source)))
            if not peers and GATEWAY in (source.name, target.name):
                continue
            yield Row('%s looks for %s, IPv%d' % (source.name, target.name, version), source.name,
                      (_request(source, target, version),),
                      frozenset([target.place] if peers else []),
                      places if target.place == UPLINK else places - {target.place})


def _request(source: Party, target: Party, version: int) -> bytes:
    if version == 4:
        return frames.arp(frames.REQUEST, source.mac, source.ipv4, frames.NO_MAC, target.ipv4)
    return frames.solicitation(source.mac, source.ipv6, target.ipv6)


# --- what came of it --------------------------------------------------------------------------


def cells(tried: Iterable[Tried]) -> Dict[Tuple[str, str], List[Tried]]:
    """Return what was tried, by pair."""
    found: Dict[Tuple[str, str], List[Tried]] = {}
    for one in tried:
        found.setdefault((one.probe.source, one.probe.target), []).append(one)
    return found
