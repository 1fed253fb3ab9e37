"""Some VIFs are permissive and all others are not: what an enforced policy refuses does not pass.

Its own policy keeps a permissive VIF from nothing. Its peers' policies admit it, if it speaks under
its own name; nobody else's do, and no stranger is taken for it.
"""
from typing import List, Mapping

import pytest

from support.packets import attacks, each_vif, legit
from support.packets.check_rows import Table, play, select
from support.packets.frames import ARP, IP, Ether, ICMPv6ND_NA, IPv6
from support.packets.rows import Case
from support.packets.shared_network import Who, World

PERMISSIVE = ('red1', 'blue2', 'svc2', 'locked2', 'ward')
PEERS = {'red1': ('red2', 'red3'), 'svc2': ('svc1',)}      # whose policies are enforced
pytestmark = [pytest.mark.host(permissive=PERMISSIVE)]
EVIL = {**attacks.FAMILIES, **each_vif.ATTACKS}
LEGIT = {**legit.FAMILIES, **each_vif.LEGIT}
# Nothing keeps frames from these. Floods reach a locked VIF; a policy that cannot be read says
# nothing, so that the network does: its VIFs are permissive.
OPEN = ('un', 'evil', 'locked', 'quar', 'uplink', 'dom0', *PERMISSIVE)


def speaks_as_itself(frame: bytes, who: Who) -> bool:
    """Tell whether the addresses by which a frame names its sender are the sender's."""
    packet = Ether(frame)
    said = [packet[layer].fields.get(field) for layer, field in (
        (ARP, 'psrc'), (IP, 'src'), (IPv6, 'src'), (ICMPv6ND_NA, 'tgt')) if layer in packet]
    return packet.src == who.mac and set(said) <= {who.ip, who.ip6, who.ll, '0.0.0.0'}


def opened(world: World, families: Mapping[str, Table], family: str) -> List[Case]:
    """Return a family's rows, each with all who may see it where some VIFs are permissive."""
    cases = []
    for case in select(families, world, [family]):
        peers = PEERS.get(case.sender, ()) if all(
            speaks_as_itself(frame, world.who[case.sender]) for frame in case.frames) else ()
        cases.append(case._replace(may=(*case.may, *OPEN, *peers)))
    return cases


@pytest.mark.parametrize('family', LEGIT)
def test_what_must_work_works(world: World, family: str) -> None:
    lines = play(world, opened(world, LEGIT, family))
    assert not lines, '\n'.join(lines)


@pytest.mark.parametrize('family', EVIL)
def test_no_attack_gets_to_an_enforced_vif(world: World, family: str) -> None:
    lines = play(world, opened(world, EVIL, family))
    assert not lines, '\n'.join(lines)
