"""A Dom0 with a few sealed VMs that shout at each other all the time, whatever a test does."""
from typing import Iterator

import pytest

from sandbox.fixtures import wanted
from sandbox.flood import Flood
from sandbox.dom0 import Sandbox

from support.flooded_host import BRIDGES, CONFIG, NEIGHBOURS, FloodedHost, run_here
from support.flooded_vms import FloodedVms
from support.packets.fixtures import world  # noqa: F401


@pytest.fixture(scope='module')
def scene(request: pytest.FixtureRequest, dom0: Sandbox) -> Iterator[FloodedHost]:
    """Two bridges, five neighbours in a flood."""
    dom0.configure(wanted(request, 'config', CONFIG))
    for bridge in BRIDGES:
        dom0.add_bridge(bridge)
    flood = Flood()
    try:
        scene = FloodedHost(dom0, FloodedVms(flood))
        for name, number, rights in NEIGHBOURS:
            vm = scene.begin(rights, number, name)
            run_here(scene.online(vm))
        scene.all_talk()
        yield scene
    finally:
        flood.stop()


@pytest.fixture
def calm(scene: FloodedHost) -> Iterator[FloodedHost]:
    """The scene as each test finds it, and leaves it: the subject is gone, all is as it should."""
    yield scene
    for vm in list(scene.host.vms):
        if vm.name not in {name for name, _, _ in NEIGHBOURS}:
            scene.end(vm)
    scene.as_desired()
    scene.all_talk()
