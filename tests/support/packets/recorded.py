"""What the switch records of rows that it refuses, and what it must not record."""
from typing import FrozenSet, List, Mapping

from support.packets import attacks, each_vif, legit
from support.packets.check_rows import select
from support.packets.frames import ARP, IP, Ether, IPv6
from support.packets.rows import Case
from support.packets.shared_network import World
from xsisolate.dom0.ovs.ofctl import dump_record
from xsisolate.openflow.ownership import RECORDED
from xsisolate.planner.refusal_record import WORDS, Refusal, parse_seen

SENDERS = ('red1', 'svc1', 'locked')    # one of each kind: their rows say what others' do
FORGED = frozenset(WORDS.values()) - {'multicast', 'receiver is closed', 'answer to nothing asked'}
POLICY = frozenset(('not a peer on egress', 'not a peer on ingress', "another's address",
                    'multicast', 'receiver is closed'))
SERVICES = frozenset(('service not allowed on egress', 'service not allowed on ingress',
                      'answer to nothing asked', 'fragment'))
# What the rows of a family may be refused for.
FAMILIES: Mapping[str, FrozenSet[str]] = {
    'identity': frozenset(('spoofed MAC', 'spoofed IP', 'ARP or ND claim', 'kind of frame',
                           'fragment')),
    'neighbours': FORGED, 'headers': FORGED, 'dhcp': FORGED | POLICY, 'multicast': FORGED | POLICY,
    'ethertypes': FORGED | POLICY, 'isolation': POLICY | {
        'router advertisement', 'kind of frame', 'VLAN tag'},
    'gateway': POLICY | SERVICES, 'services': POLICY | SERVICES,
    'singled out': POLICY | {'router advertisement', 'fragment'}}
EVIL = {**attacks.FAMILIES, **each_vif.ATTACKS}


def send(world: World, case: Case) -> List[Refusal]:
    """Send a row's frames, and return what was recorded meanwhile."""
    ovs, station = world.dom0.ovs, world.radio.stations[case.sender]
    ovs.ofctl('del-flows', 'xenbr0', 'cookie=0x5849535200000000/0xffffffff00000000')
    station.host.send_all(case.frames, station.device)
    station.host.call('ping', [], 0, 0, '')     # all have been sent
    ovs.settle()
    return [seen.refusal for seen in parse_seen(dump_record('xenbr0', RECORDED))]


def is_of(refusal: Refusal, frame: bytes) -> bool:
    """Tell whether a record is of a frame, and not of what a guest's kernel says of itself."""
    packet = Ether(frame)
    ends = next(((str(found[0]), str(found[1])) for found in (
        (packet[layer].fields.get(names[0]), packet[layer].fields.get(names[1]))
        for layer, names in ((ARP, ('psrc', 'pdst')), (IP, ('src', 'dst')), (IPv6, ('src', 'dst')))
        if layer in packet)), None)
    return refusal.source_mac == packet.src and (
        ends is None or (refusal.source, refusal.target) == ends)


def check_attacks(world: World, family: str, judged_only: bool = False) -> None:
    """Fail unless each attack of a family leaves a record with a reason that fits.

    With `judged_only` they arrive, so the receiver's policy has a reason of its own; and those who
    would be closed are not managed.
    """
    closed = [bytes.fromhex(world.who[name].mac.replace(':', '')) for name in ('quar', 'off')]
    fitting = FAMILIES[family] | {'spoofed IP'} | (POLICY if judged_only else frozenset())
    wrong, reasons, count = [], set(), 0
    for case in select(EVIL, world, [family]):
        if case.sender not in SENDERS or case.seen_by or case.may or (
                judged_only and case.frames[0][:6] in closed):
            continue
        count += 1
        mac = case.frames[0][6:12].hex()
        found = {refusal.reason for refusal in send(world, case)
                 if refusal.source_mac.replace(':', '') == mac}
        reasons |= found
        if not found or not found <= fitting:
            wrong.append('%s: %s' % (case.id, sorted(found) or 'is not recorded'))
    assert count and not wrong, '\n'.join(wrong)
    if family == 'identity':
        assert reasons >= {'spoofed MAC', 'spoofed IP', 'ARP or ND claim'}


def check_legitimate(world: World, family: str) -> None:
    """Fail unless nothing that should arrive is recorded."""
    wrong = []
    for case in select(legit.FAMILIES, world, [family]):
        if case.sender != 'red1' or case.steps:
            continue
        found = send(world, case)
        wrong += ['%s: %s' % (case.id, refusal) for refusal in found
                  for frame in case.frames if is_of(refusal, frame)]
    assert not wrong, '\n'.join(wrong)
