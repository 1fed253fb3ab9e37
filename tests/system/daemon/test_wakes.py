"""What a changed file has the daemon compare: the loop in this very process, its tasks counted."""
import json
import os
import time
from typing import Any, Callable, Iterator, List

import pytest

from sandbox.dom0 import Sandbox

from support.guarded_host import GUARDED, RED, Around

from xsisolate.daemon.loop import Loop
from xsisolate.daemon.schedule import Task
from xsisolate.dom0.linux.syslog import Log

pytestmark = GUARDED
BRIDGES = ('xenbr0', 'xenbr1', 'xenbr2', 'xenbr3')
GROUPS = '/run/xsisolate/groups'


class Counted(Loop):
    """A loop that is turned by hand, and tells which tasks it has worked on."""

    def __init__(self) -> None:
        super().__init__(Log('test'))
        self.done: List[Task] = []

    def _do(self, task: Task) -> None:
        self.done.append(task)
        super()._do(task)

    def turn(self, seconds: float) -> List[Task]:
        """Listen and work for so long; return the tasks."""
        self.done, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            self._listen(time.monotonic())
            task = self._schedule.take(time.monotonic())
            if task:
                self._do(task)
            time.sleep(0.01)
        return self.done


@pytest.fixture
def loop(host: Sandbox, around: Around, start: Any) -> Iterator[Counted]:
    """Four bridges, with members of red on two and of blue on one; all is as it should be."""
    made = [name for name in BRIDGES if name not in host.bridges]
    for name in made:
        host.add_bridge(name)
    vms = [start(13, RED), start(14, RED, bridge='xenbr1'),
           start(15, {'groups': 'blue'}, bridge='xenbr2'), start(16, bridge='xenbr3')]
    os.makedirs(GROUPS, exist_ok=True)
    loop = Counted()
    loop.turn(5)
    yield loop
    for path in os.listdir(GROUPS):
        os.unlink(os.path.join(GROUPS, path))
    for vm in vms:
        vm.shutdown()
    for name in made:
        host.bridges.remove(name)
        host.ovs.vsctl('del-br', name)


def write(group: str, number: int) -> None:
    """Write a group's file as the follower does."""
    path = '%s/%s.json' % (GROUPS, group)
    with open(path + '.new', 'w') as file:
        json.dump({'version': 1, 'members': [
            {'network': '0' * 8 + '-0000-0000-0000-' + '0' * 12, 'mac': '02:00:00:00:99:01',
             'addresses': ['10.9.0.%d' % number]}]}, file)
    os.rename(path + '.new', path)


def test_a_changed_group_wakes_the_bridges_that_have_it(loop: Counted) -> None:
    changes: List[Callable[[], None]] = [
        lambda: write('red', 71), lambda: write('red', 72), lambda: write('blue', 73),
        lambda: write('green', 74), lambda: os.unlink(GROUPS + '/red.json')]
    found = []
    for change in changes:
        loop.turn(1.5)
        change()
        found.append({task.bridge for task in loop.turn(2.5) if task.bridge})
    assert found == [{'xenbr0', 'xenbr1'}, {'xenbr0', 'xenbr1'}, {'xenbr2'}, set(),
                     {'xenbr0', 'xenbr1'}]
