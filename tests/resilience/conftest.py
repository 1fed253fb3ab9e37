"""A Dom0 with a few sealed VMs that shout at each other all the time, whatever a test does."""
from typing import Iterator

import pytest

from sandbox import seals
from sandbox.flood import Flood
from sandbox.dom0 import Sandbox, Sealer

from support.flooded_host import BRIDGES, CONFIG, NEIGHBOURS, Scene, run_here
from support.flooded_vms import Town
from support.packets.fixtures import world  # noqa: F401


@pytest.fixture(scope='module')
def sealer() -> Sealer:
    """Policies are sealed as docs/seal.md says."""
    return seals.seal


@pytest.fixture(scope='module')
def config() -> str:
    """The configuration that a module's tests begin with."""
    return CONFIG


@pytest.fixture(scope='module')
def scene(dom0: Sandbox, config: str) -> Iterator[Scene]:
    """Two bridges, five neighbours in a flood."""
    dom0.configure(config)
    for bridge in BRIDGES:
        dom0.add_bridge(bridge)
    flood = Flood()
    try:
        scene = Scene(dom0, Town(flood))
        for name, number, rights in NEIGHBOURS:
            vm = scene.begin(rights, number, name)
            run_here(scene.online(vm))
        scene.all_talk()
        yield scene
    finally:
        flood.stop()


@pytest.fixture
def calm(scene: Scene) -> Iterator[Scene]:
    """The scene as each test finds it, and leaves it: the subject is gone, all is as it should."""
    yield scene
    for vm in list(scene.host.vms):
        if vm.name not in {name for name, _, _ in NEIGHBOURS}:
            scene.end(vm)
    scene.as_desired()
    scene.all_talk()
