"""A Dom0 with a few sealed VMs that shout at each other all the time, whatever a test does."""
import os
import sys
from typing import Iterator

import pytest

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(os.path.join(TESTS, 'reliability'))      # scene, town

from lab import seals  # noqa: E402
from lab.flood import Flood  # noqa: E402
from lab.sandbox import Sandbox, Sealer  # noqa: E402

from scene import BRIDGES, CONFIG, NEIGHBOURS, Scene, run_here  # noqa: E402
from town import Town  # noqa: E402


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
