"""What the host is, and which of the switch's features the pipeline needs: probed, not guessed."""
import os
import platform
from typing import Dict, List, NamedTuple, Tuple

from xsisolate import __version__
from xsisolate.dataplane.switch_needs import CONSEQUENCE, read_needs
from xsisolate.dom0.ovs import appctl
from xsisolate.dom0.ovs.flow_table import PROTOCOLS
from xsisolate.dom0.ovs.switch_features import (count_meters, read_datapath,
                                                read_openflow_versions)
from xsisolate.dom0.ovs.trial_bridge import TRIAL_BRIDGE
from xsisolate.errors import HostError

KERNELS = 'system@'

class Feature(NamedTuple):
    """What was asked of the switch, and what follows where it lacks that."""

    name: str
    found: str
    lacking: str = ''       # what does not work then, and what happens instead


class Host(NamedTuple):
    """The host that was tried."""

    facts: Dict[str, str]
    features: Tuple[Feature, ...]

    @property
    def lacks(self) -> List[Feature]:
        """The features that are missing."""
        return [feature for feature in self.features if feature.lacking]


def read_host() -> Host:
    """Return what the host is; the self-test's bridge is there."""
    datapath = read_datapath(TRIAL_BRIDGE)
    facts = {'xsisolate': __version__, 'Open vSwitch': appctl.read_version(),
             'datapath': '%s (%s)' % (datapath, "the kernel's" if datapath.startswith(KERNELS)
                                      else "ovs-vswitchd's own"),
             'kernel': os.uname().release, 'machine': os.uname().machine,
             'Python': platform.python_version()}
    return Host(facts, (*_datapath_features(), _openflow(), _meters()))


def _datapath_features() -> Tuple[Feature, ...]:
    return tuple(Feature(need.name, need.found, '' if need.is_met else '%s: %s' % (
        need.use, CONSEQUENCE)) for need in read_needs(TRIAL_BRIDGE))


def _openflow() -> Feature:
    versions = read_openflow_versions(TRIAL_BRIDGE)
    missing = [name for name in PROTOCOLS if name not in versions]
    return Feature('OpenFlow', ', '.join(versions), '%s is spoken with it: %s' % (
        missing[0], CONSEQUENCE) if missing else '')


def _meters() -> Feature:
    """Return how many meters there are; we use none."""
    try:
        number = count_meters(TRIAL_BRIDGE)
    except HostError:
        number = 0
    return Feature('meters (not used)', str(number))
