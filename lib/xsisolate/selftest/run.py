"""A self-test from its first to its last step."""
from time import monotonic
from typing import Callable, List

from xsisolate.selftest import checks
from xsisolate.selftest.host_features import read_host
from xsisolate.selftest.leftovers import find_left, own_place
from xsisolate.selftest.parties import beyond, vms
from xsisolate.selftest.permissive import permit
from xsisolate.selftest.report import Measured, Outcome, Report
from xsisolate.selftest.scene import Scene
from xsisolate.selftest.speed import measure


class Extent:
    """How much is tried."""

    def __init__(self, full: bool) -> None:
        self.full = full
        self.refreshes = 40 if full else 8
        self.rounds = 5 if full else 3
        self.seconds = 2.0 if full else 0.5     # of each measurement of a round


def run(full: bool, say: Callable[[str], None]) -> Report:
    """Try everything; `say` is told what is being done.

    Raises HostError if it cannot be tried at all, or the host fails meanwhile.
    """
    began, extent = monotonic(), Extent(full)
    outcomes: List[Outcome] = []
    with own_place() as datapath:
        say('making a bridge with %d VIFs' % len(vms(full)))
        with Scene(vms(full), datapath) as scene:
            report = _try(scene, datapath, extent, outcomes, say)
        left = find_left()
        outcomes.append(Outcome('clean-up', 'bridge, devices and files', 'nothing left',
                                'left: ' + ', '.join(left) if left else 'nothing left', not left))
    return report._replace(outcomes=tuple(outcomes), seconds=monotonic() - began)


def _try(scene: Scene, datapath: str, extent: Extent, outcomes: List[Outcome],
         say: Callable[[str], None]) -> Report:
    """Try everything on the scene."""
    parties = (*vms(extent.full), *beyond(extent.full))

    def step(what: str) -> Callable[[], None]:
        say(what)
        return lambda: say(what)
    host = read_host()
    outcomes += [Outcome('features', feature.name, 'there', feature.lacking, False)
                 for feature in host.lacks]
    outcomes += checks.plug_all(scene)
    scene.introduce()
    reached = checks.reach(scene, parties, step('trying who reaches whom'))
    outcomes += reached.outcomes
    say('trying the eight attacks')
    outcomes += checks.attack(scene)
    say('trying answers that were not asked for')
    outcomes += checks.converse(scene)
    say('changing policies')
    outcomes += checks.change(scene)
    outcomes += permit(scene)
    refreshed, refreshes = checks.refresh(scene, extent.refreshes)
    outcomes.append(refreshed)
    say('counting drops')
    outcomes += checks.count(scene)
    if extent.full:
        outcomes += checks.play_corpus(scene, step('sending the corpus'))
    outcomes.append(checks.compare(scene))
    sizes = tuple(checks.sizes(scene))
    say('measuring')
    speeds = measure(scene, datapath, extent.seconds, extent.rounds)
    outcomes.append(checks.converse_as_guests(speeds))
    say('unplugging')
    outcomes.append(checks.unplug_all(scene))
    plugs = Measured('plug', tuple(taken * 1000 for taken in scene.plug_times), 'ms')
    return Report(host, tuple(party.name for party in parties), reached.tried, (),
                  (plugs, refreshes) + sizes, speeds, 0.0)
