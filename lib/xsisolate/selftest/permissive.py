"""A permissive VIF on the scene: what its policy refuses passes, and is recorded; then no more."""
from time import sleep
from typing import Iterator, List

from xsisolate.dom0.ovs.ofctl import delete_record, dump_record
from xsisolate.dom0.ovs.trial_bridge import TRIAL_BRIDGE
from xsisolate.openflow.ownership import RECORDED
from xsisolate.planner.refusal_record import Refusal, parse_seen
from xsisolate.selftest.checks import PAUSE_S, datagram, follow
from xsisolate.selftest.parties import EVERYBODY, Party
from xsisolate.selftest.report import Outcome
from xsisolate.selftest.scene import Scene

SERVED, SERVER, STRANGER = EVERYBODY['svc1'], EVERYBODY['svc2'], EVERYBODY['un']
CLIENT_PORT, DNS = 5300, 53
AREA = 'permissive'
BOTH_WAYS = ((SERVED, STRANGER), (STRANGER, SERVED))


def permit(scene: Scene) -> Iterator[Outcome]:
    """Have a party's policy judged only, and enforced again."""
    scene.change(SERVED._replace(policy=dict(SERVED.policy or {}, permissive='yes')))
    delete_record(TRIAL_BRIDGE)     # it has room for so many kinds
    for source, target in BOTH_WAYS:
        yield _try(scene, source, target, 'permissive', True)
    # Its connections are judged in the clone, too: an answer that was asked for is none that
    # would be refused.
    for source, target, ports in ((SERVED, SERVER, (CLIENT_PORT, DNS)),
                                  (SERVER, SERVED, (DNS, CLIENT_PORT))):
        yield follow(scene, AREA, '%s to %s' % (source.name, target.name),
                     datagram(source, target, *ports), target, True)
    yield _compare_record()
    scene.change(SERVED)
    for source, target in BOTH_WAYS:
        yield _try(scene, source, target, 'enforced again', False)


def _try(scene: Scene, source: Party, target: Party, state: str, passes: bool) -> Outcome:
    return follow(scene, AREA, '%s to %s, %s %s' % (source.name, target.name, SERVED.name, state),
                  datagram(source, target, DNS, DNS), target, passes)


def _compare_record() -> Outcome:
    """Tell whether the switch has recorded the stranger's datagrams, and no others."""
    wanted = {('not a peer on egress', SERVED.mac), ('not a peer on ingress', STRANGER.mac)}
    said = {(one.reason, one.source_mac) for one in _recorded()}
    expected = 'the stranger, both ways'
    found = expected if said == wanted else '; '.join(
        '%s, %s' % pair for pair in sorted(said)) or 'nothing'
    return Outcome(AREA, 'the record of what would be refused', expected, found, said == wanted)


def _recorded() -> List[Refusal]:
    """Return what the switch has recorded of the parties' datagrams that have passed."""
    sleep(PAUSE_S)      # until it has learned all
    macs = [party.mac for party in (SERVED, STRANGER, SERVER)]
    return [seen.refusal for seen in parse_seen(dump_record(TRIAL_BRIDGE, RECORDED))
            if seen.refusal.service.startswith('udp/') and seen.refusal.passed
            and seen.refusal.source_mac in macs]
