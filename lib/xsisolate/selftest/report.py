"""What came of a self-test, as values."""
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from xsisolate.selftest.host_features import Host
from xsisolate.selftest.probes import Tried
from xsisolate.selftest.speed import Speed

PASSES, STOPPED = 'passes', 'stopped'


class Outcome(NamedTuple):
    """One thing that was tried."""

    area: str           # reachability, attacks, ...
    what: str
    policy: str         # what the policy, or the product, says
    found: str          # what this switch and this kernel did
    fine: bool


class Measured(NamedTuple):
    """How long something took, or how much of it there was; nothing is right or wrong about it."""

    what: str
    values: Tuple[float, ...]
    unit: str


class Report(NamedTuple):
    """Everything."""

    host: Host
    names: Tuple[str, ...]              # of those who were tried with each other
    tried: Tuple[Tried, ...]
    outcomes: Tuple[Outcome, ...]
    measured: Tuple[Measured, ...]
    speeds: Dict[str, Speed]
    seconds: float

    @property
    def wrong(self) -> List[Outcome]:
        """What is not as it should be."""
        return [outcome for outcome in self.outcomes if not outcome.fine]

    @property
    def fine(self) -> bool:
        """Tell whether all is as it should be."""
        return not self.wrong


def describe(report: Report) -> Dict[str, Any]:
    """Return a report as JSON has it."""
    return {
        'fine': report.fine, 'seconds': round(report.seconds, 1), 'host': report.host.facts,
        'features': [{'name': feature.name, 'found': feature.found,
                      'lacking': feature.lacking or None} for feature in report.host.features],
        'reachability': [_describe_tried(one) for one in report.tried],
        'outcomes': [dict(outcome._asdict()) for outcome in report.outcomes],
        'measured': [{'what': one.what, 'unit': one.unit,
                      'values': [round(value, 3) for value in one.values]}
                     for one in report.measured],
        'speeds': {name: {'throughput_mbit_s': round(speed.throughput, 1),
                          'latency_us': round(speed.latency, 1)}
                   for name, speed in report.speeds.items()}}


def _describe_tried(one: Tried) -> Dict[str, Any]:
    return {'source': one.probe.source, 'target': one.probe.target, 'kind': one.probe.kind,
            'version': one.probe.version, 'policy': one.said.answered, 'because': one.said.because,
            'passed': one.passed, 'wrong': one.wrong or None}


def first_of(words: List[str], most: int = 3) -> str:
    """Return the first of many words."""
    more = len(words) - most
    return ', '.join(words[:most]) + (', and %d more' % more if more > 0 else '')


def seen_where(places: Optional[List[str]]) -> str:
    """Return where something was seen."""
    return 'seen by ' + first_of(places) if places else STOPPED
