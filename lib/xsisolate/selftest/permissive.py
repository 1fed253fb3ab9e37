"""A permissive VIF on the scene: what its policy refuses passes, and is recorded; then no more."""
from time import monotonic, sleep
from typing import Iterator, List, Sequence

from xsisolate.dom0.ovs.ofctl import delete_record, dump_record
from xsisolate.dom0.ovs.trial_bridge import TRIAL_BRIDGE
from xsisolate.openflow.ownership import RECORDED
from xsisolate.planner.refusal_record import Refusal, parse_seen
from xsisolate.selftest import frames
from xsisolate.selftest.parties import EVERYBODY, Party
from xsisolate.selftest.report import PASSES, STOPPED, Outcome
from xsisolate.selftest.rows import Row
from xsisolate.selftest.scene import Scene

SERVED, SERVER, STRANGER = EVERYBODY['svc1'], EVERYBODY['svc2'], EVERYBODY['un']
CLIENT_PORT, DNS = 5300, 53
CHANGED_S, PAUSE_S = 2.0, 0.1


def permit(scene: Scene) -> Iterator[Outcome]:
    """Have a party's policy judged only, and enforced again."""
    scene.change(SERVED._replace(policy=dict(SERVED.policy or {}, permissive='yes')))
    delete_record(TRIAL_BRIDGE)     # it has room for so many kinds
    for source, target in ((SERVED, STRANGER), (STRANGER, SERVED)):
        yield _passes(scene, '%s to %s, %s permissive' % (source.name, target.name, SERVED.name),
                      _datagram(source, target, DNS, DNS), True)
    # Its connections are judged in the clone, too: an answer that was asked for is none that
    # would be refused.
    for source, target, ports in ((SERVED, SERVER, (CLIENT_PORT, DNS)),
                                  (SERVER, SERVED, (DNS, CLIENT_PORT))):
        yield _passes(scene, '%s to %s' % (source.name, target.name),
                      _datagram(source, target, *ports), True)
    found = _recorded([SERVED, STRANGER, SERVER])
    wanted = {('not a peer on egress', SERVED.mac), ('not a peer on ingress', STRANGER.mac)}
    said = {(one.reason, one.source_mac) for one in found}
    yield Outcome('permissive', 'the record of what would be refused', 'the stranger, both ways',
                  'the stranger, both ways' if said == wanted and all(
                      one.passed for one in found) else
                  '; '.join('%s, %s' % pair for pair in sorted(said)) or 'nothing',
                  said == wanted and all(one.passed for one in found))
    scene.change(SERVED)
    for source, target in ((SERVED, STRANGER), (STRANGER, SERVED)):
        yield _passes(scene, '%s to %s, %s enforced again' % (
            source.name, target.name, SERVED.name), _datagram(source, target, DNS, DNS), False)


def _passes(scene: Scene, what: str, row: Row, passes: bool) -> Outcome:
    """Send a datagram until it passes, or does not; verdicts may be cached for a moment."""
    (target,), end = row.seen_by, monotonic() + CHANGED_S
    seen = not passes
    while seen is not passes and monotonic() < end:
        seen = target in scene.radio.play([row])[0].seen
    return Outcome('permissive', what, PASSES if passes else STOPPED,
                   PASSES if seen else STOPPED, seen is passes)


def _datagram(source: Party, target: Party, source_port: int, target_port: int) -> Row:
    return Row('a datagram', source.name, (frames.framed(source.mac, target.mac, frames.udp(
        source.ipv4, target.ipv4, source_port, target_port)),), frozenset([target.name]))


def _recorded(parties: Sequence[Party]) -> List[Refusal]:
    """Return what the switch has recorded of parties' datagrams, when it has learned all."""
    sleep(PAUSE_S)
    macs = [party.mac for party in parties]
    return [seen.refusal for seen in parse_seen(dump_record(TRIAL_BRIDGE, RECORDED))
            if seen.refusal.service.startswith('udp/') and seen.refusal.passed
            and seen.refusal.source_mac in macs]
