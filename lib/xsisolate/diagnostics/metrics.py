"""What this host does, as metrics: OpenMetrics' text, or the older text of Prometheus.

Names and types are in FAMILIES and nowhere else. Labels hold a VM's uuid, its name and a device,
and no tenant's address.
"""
from time import time
from typing import Dict, Iterator, List, Mapping, NamedTuple, Tuple

from xsisolate import __version__
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.refusals import read_book, read_now
from xsisolate.diagnostics.inventory import VifView
from xsisolate.diagnostics.status import look_twice
from xsisolate.dom0.linux.netdev import read_statistics
from xsisolate.dom0.run_files.counts import read_daemon, read_hooks
from xsisolate.dom0.run_files.pool_state import read_state
from xsisolate.planner.refusal_book import Book

GAUGE, COUNTER = 'gauge', 'counter'


class Family(NamedTuple):
    """A metric: its type, its unit, and what it says."""

    kind: str
    text: str
    unit: str = ''


FAMILIES: Mapping[str, Family] = {
    'xsisolate_release': Family(GAUGE, 'The release of xsisolate, which is 1.'),
    'xsisolate_vif_mode': Family(GAUGE, 'The mode of a VIF, which is 1.'),
    'xsisolate_vif_seal': Family(GAUGE, 'How the vm-data and the seal of a VIF go together, '
                                 'which is 1.'),
    'xsisolate_vif_flows': Family(GAUGE, 'Flows of a VIF.'),
    'xsisolate_vif_sent_frames': Family(COUNTER, 'Frames that a VM has sent, refused ones, too.'),
    'xsisolate_vif_delivered_frames': Family(COUNTER, 'Frames that a VM was sent.'),
    'xsisolate_vif_dropped_frames': Family(COUNTER, 'Frames dropped since the flows of a VIF are '
                                           'there.'),
    'xsisolate_vif_refused_frames': Family(COUNTER, 'Frames that the policy of a VIF has refused, '
                                           'as the daemon has read them.'),
    'xsisolate_vif_would_be_refused_frames': Family(COUNTER, 'Frames that the policy of a '
                                                    'permissive VIF refuses, and that have '
                                                    'passed, as the daemon has read them.'),
    'xsisolate_vif_permissive': Family(GAUGE, 'Whether no policy holds a VIF, for its own is '
                                       'judged only.'),
    'xsisolate_vif_would_be_quarantined': Family(GAUGE, 'Whether a permissive VIF has a policy '
                                                 'that lets nothing pass, or cannot be applied.'),
    'xsisolate_record_age_seconds': Family(GAUGE, 'Age of the record of refusals.', 'seconds'),
    'xsisolate_bridge_flows': Family(GAUGE, 'Flows of xsisolate on a bridge.'),
    'xsisolate_pool_connected': Family(GAUGE, 'Whether XAPI tells of the pool.'),
    'xsisolate_pool_state_age_seconds': Family(GAUGE, 'Age of what is known of the pool.',
                                               'seconds'),
    'xsisolate_daemon_tasks': Family(COUNTER, 'Bridges and VIFs that the daemon has compared.'),
    'xsisolate_daemon_task_seconds': Family(COUNTER, 'Time that it took.', 'seconds'),
    'xsisolate_hook_runs': Family(COUNTER, 'Runs of hooks since boot.')}


class Sample(NamedTuple):
    """A value of a metric."""

    family: str
    labels: Tuple[Tuple[str, str], ...]
    value: float


def read_metrics(dom0: HostContext) -> List[Sample]:
    """Return what there is to measure on this host."""
    inventory = look_twice(dom0)
    book = read_book() or Book()
    kept = book.read
    read_now(book)
    found = [Sample('xsisolate_release', (('version', __version__),), 1)]
    labels = {view.vif.id.vif: label_vif(view) for view in inventory.vifs}
    for view in inventory.vifs:
        found += _vif_samples(view, labels[view.vif.id.vif])
    for total, frames in sorted(book.sums.items()):
        if total.owner.vif in labels and labels[total.owner.vif][0] == ('vm', total.owner.vm):
            found.append(Sample(
                'xsisolate_vif_would_be_refused_frames' if total.passed
                else 'xsisolate_vif_refused_frames',
                (*labels[total.owner.vif], ('reason', total.shown)), frames))
    if kept:
        found.append(Sample('xsisolate_record_age_seconds', (), max(time() - kept, 0.0)))
    found += [Sample('xsisolate_bridge_flows', (('bridge', name),), view.flows)
              for name, view in sorted(inventory.bridges.items())]
    return found + list(_host_samples())


def label_vif(view: VifView) -> Tuple[Tuple[str, str], ...]:
    """Return the labels of a VIF: nothing that a tenant might not want to be seen."""
    return (('vm', view.vif.vm_uuid), ('name', view.vm_name), ('device', str(view.vif.id.devid)))


def _vif_samples(view: VifView, labels: Tuple[Tuple[str, str], ...]) -> Iterator[Sample]:
    yield Sample('xsisolate_vif_mode', (*labels, ('mode', view.vif.policy.mode.word)), 1)
    yield Sample('xsisolate_vif_seal', (*labels, ('seal', view.seal)), 1)
    yield Sample('xsisolate_vif_permissive', labels, int(view.vif.policy.is_loose))
    yield Sample('xsisolate_vif_would_be_quarantined', labels, int(bool(view.vif.policy.would_be)))
    yield Sample('xsisolate_vif_flows', labels, view.flows)
    counts = [read_statistics(port.name) for port in view.vif.ports]
    yield Sample('xsisolate_vif_sent_frames', labels, sum(sent for sent, _ in counts))
    yield Sample('xsisolate_vif_delivered_frames', labels, sum(got for _, got in counts))
    for kind, frames in view.drops._asdict().items() if view.drops else ():
        yield Sample('xsisolate_vif_dropped_frames', (*labels, ('kind', kind)), frames)


def _host_samples() -> Iterator[Sample]:
    """Yield what other processes have left word of."""
    state = read_state()
    if state:
        yield Sample('xsisolate_pool_connected', (), int(state.connected))
        age = state.age()
        if age is not None:
            yield Sample('xsisolate_pool_state_age_seconds', (), age)
    for kind, (tasks, seconds) in sorted(read_daemon().items()):
        yield Sample('xsisolate_daemon_tasks', (('kind', kind),), tasks)
        yield Sample('xsisolate_daemon_task_seconds', (('kind', kind),), seconds)
    for hook, outcome, runs in read_hooks():
        yield Sample('xsisolate_hook_runs', (('hook', hook), ('outcome', outcome)), runs)


def format_metrics(samples: List[Sample], openmetrics: bool = True) -> str:
    """Return the text; node_exporter reads the older one alone, without units and an end."""
    by_family: Dict[str, List[Sample]] = {}
    for sample in samples:
        by_family.setdefault(sample.family, []).append(sample)
    lines: List[str] = []
    for name, family in FAMILIES.items():
        if name not in by_family:
            continue
        full = name + '_total' * (family.kind == COUNTER)
        shown = name if openmetrics else full
        lines += ['# HELP %s %s' % (shown, family.text), '# TYPE %s %s' % (shown, family.kind)]
        if family.unit and openmetrics:
            lines.append('# UNIT %s %s' % (name, family.unit))
        lines += ['%s%s %s' % (full, _format_labels(sample.labels), _format_value(sample.value))
                  for sample in by_family[name]]
    return '\n'.join(lines + ['# EOF'] * openmetrics) + '\n'


def _format_labels(labels: Tuple[Tuple[str, str], ...]) -> str:
    words = ['%s="%s"' % (name, _escape(value)) for name, value in labels]
    return '{%s}' % ','.join(words) if words else ''


def _escape(value: str) -> str:
    """Return a label's value, which may be any text."""
    text = ''.join(char if char >= ' ' or char == '\n' else '?' for char in value)
    text = text.encode('utf-8', 'replace').decode('utf-8')
    return text.replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n')


def _format_value(value: float) -> str:
    return '%d' % value if value == int(value) else '%.3f' % value
