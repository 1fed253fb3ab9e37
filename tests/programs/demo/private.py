"""A private network: no uplink, a router VM that is its gateway, and two groups behind it."""
from typing import Dict, List, Mapping, NamedTuple, Tuple

from demo.policy import Matrix, promised
from demo.reach import measure
from demo.scene import PRIVATE, PRIVATE_BRIDGE, Scene
from demo.screen import Screen
from demo.tables import show_matrix, show_policies
from sandbox.host import Host
from sandbox.uplink import OUTSIDE

ROUTER, HERE, THERE = 'router', 'red4', 'blue4'
PATIENCE_S = 0.5


class Played(NamedTuple):
    """What came of it."""

    measured: Matrix
    hairpin: Tuple[str, ...]        # what got through between groups by way of the router


def play_private(scene: Scene) -> Played:
    """Start the network, try who reaches whom, then send one group to the other by the router."""
    dom0 = scene.dom0
    dom0.add_bridge(PRIVATE_BRIDGE)
    hosts: Dict[str, Host] = {}
    for machine in PRIVATE.machines:
        if machine.policy:
            vm = dom0.start_vm(machine.name, bridge=PRIVATE_BRIDGE, ipv4=machine.ipv4 + '/24',
                               ipv6=machine.ipv6 + '/64', policy=machine.policy)
            vm.serve()
            hosts[machine.name] = vm
    be_router(hosts[ROUTER])
    for name, host in hosts.items():
        if name != ROUTER:
            host.ip(*('route add default via ' + router for router in PRIVATE.gateway))
    measured = measure(PRIVATE, {**hosts, 'outside': hosts[ROUTER]})
    return Played(measured, tuple(try_hairpin(hosts)))


def be_router(host: Host) -> None:
    """Let a machine forward, and speak for addresses outside."""
    host.set_sysctl('net/ipv4/ip_forward', 1)
    host.set_sysctl('net/ipv6/conf/all/forwarding', 1)
    host.ip(*('addr add %s dev lo' % address for address in OUTSIDE))


def try_hairpin(hosts: Mapping[str, Host]) -> List[str]:
    """Return by which IP versions two groups meet when both route to each other by the router."""
    by_name = {machine.name: machine for machine in PRIVATE.machines}
    for name, other in ((HERE, THERE), (THERE, HERE)):
        hosts[name].ip(*('route add %s/%d via %s' % (
            by_name[other].address(version), 32 if version == 4 else 128, router)
            for version, router in zip((4, 6), PRIVATE.gateway)))
    return ['IPv%d' % version for version in (4, 6)
            if hosts[HERE].ping(by_name[THERE].address(version), PATIENCE_S)]


def show_private(screen: Screen, played: Played) -> bool:
    """Print what came of it; return whether all is as it should be."""
    show_policies(screen, PRIVATE, 'A private network without uplink: %s is its gateway, two '
                  'groups are behind it' % ROUTER)
    fine = show_matrix(screen, PRIVATE, played.measured, promised(PRIVATE))
    screen.say('  %s and %s by way of %s: %s  %s' % (
        HERE, THERE, ROUTER, ', '.join(played.hairpin) or 'nothing passes',
        screen.verdict(not played.hairpin)))
    return fine and not played.hairpin
