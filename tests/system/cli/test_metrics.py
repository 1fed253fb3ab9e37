"""`xsisolate metrics`: both of Prometheus' own parsers read it, and it says what has happened."""
import os
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_old
from sandbox.dom0 import Sandbox
from sandbox.hooks import Call
from sandbox.vm import Vm

from support.command import FAILED, USAGE, xsisolate
from support.host_state import CONFIG
from support.reachability import say
from support.refusing_town import record_passed
from xsisolate.diagnostics.metrics import FAMILIES, Sample, format_metrics

pytestmark = pytest.mark.any_python
RULES = 'setup-vif-rules'
HOSTILE = 'a"b\\new\nd{e="f"} \x1b[2J\u05e9'


@pytest.fixture(scope='module')
def vms(host: Sandbox) -> Iterator[Dict[str, Vm]]:
    yield {name: host.start_vm(name, ipv4='10.9.0.%d/24' % number, policy=policy and dict(
        policy, **{'vif/0/ipv4': '10.9.0.%d' % number}))
        for name, number, policy in (('red', 11, {'groups': 'red'}), ('odd', 12, {'mode': 'x'}),
                                     (HOSTILE, 13, None))}


Values = Dict[Tuple[str, Tuple[Tuple[str, str], ...]], float]


def values(families: Any) -> Values:
    """Return every sample's value by name and labels."""
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families for sample in family.samples}


def find(found: Values, metric: str, **labels: str) -> List[float]:
    """Return the values of a metric with these labels."""
    return [value for (sample, given), value in found.items()
            if sample == metric and set(labels.items()) <= set(given)]


def read() -> Values:
    return values(parse_open(xsisolate('metrics').out))


def test_what_it_says(host: Sandbox, vms: Dict[str, Vm]) -> None:
    red, free = vms['red'], vms[HOSTILE]
    before = read()
    red.send_all([say(red.mac, '10.9.0.77', free.mac, free.address())] * 5)
    red.send_all([say(red.mac, red.address(), free.mac, free.address())] * 7)
    red.call('ping', [], 0, 0, '')
    host.ovs.settle()
    found = read()
    mine = {'vm': red.uuid, 'name': 'red', 'device': '0'}

    def grown(metric: str, **labels: str) -> float:
        return sum(find(found, metric, **mine, **labels)) - sum(
            find(before, metric, **mine, **labels))
    assert grown('xsisolate_vif_refused_frames_total', reason='spoofed IP') >= 5
    assert grown('xsisolate_vif_refused_frames_total', reason='not a peer on egress') >= 7
    assert grown('xsisolate_vif_dropped_frames_total', kind='spoofed') >= 5
    assert grown('xsisolate_vif_dropped_frames_total', kind='isolated') >= 7
    assert grown('xsisolate_vif_sent_frames_total') >= 12
    assert find(found, 'xsisolate_vif_mode', **mine, mode='isolated') == [1]
    assert find(found, 'xsisolate_vif_mode', name='odd', mode='quarantined') == [1]
    assert find(found, 'xsisolate_vif_seal', name='odd', seal='invalid') == [1]
    assert find(found, 'xsisolate_vif_flows', **mine)[0] > 10
    assert find(found, 'xsisolate_bridge_flows', bridge='xenbr0')[0] > 100
    assert find(found, 'xsisolate_vif_mode', vm=free.uuid, mode='unlocked') == [1]


def test_what_has_passed_is_counted_by_itself(host: Sandbox, vms: Dict[str, Vm]) -> None:
    """Permissive VIFs are named, and what they would refuse is not among what was refused."""
    red, mine = vms['red'], {'vm': vms['red'].uuid, 'name': 'red', 'device': '0'}
    assert find(read(), 'xsisolate_vif_permissive', **mine) == [0]
    host.configure(CONFIG + 'permissive: true\n')
    try:
        record_passed(host, red, vms[HOSTILE], 4443)
        found = read()
    finally:
        host.configure(CONFIG)
    assert find(found, 'xsisolate_vif_permissive', **mine) == [1]
    assert find(found, 'xsisolate_vif_permissive', name='odd') == [1]
    assert find(found, 'xsisolate_vif_would_be_quarantined', name='odd') == [1]
    assert find(found, 'xsisolate_vif_would_be_quarantined', **mine) == [0]
    assert find(found, 'xsisolate_vif_would_be_refused_frames_total', **mine,
                reason='not a peer on egress') == [1]


def test_hooks_are_counted(host: Sandbox, vms: Dict[str, Vm]) -> None:
    def runs(hook: str, outcome: str) -> float:
        return find(read(), 'xsisolate_hook_runs_total', hook=hook, outcome=outcome)[0]
    assert runs('vif', 'done') >= 3
    before = runs(RULES, 'done'), runs(RULES, 'failed')
    host.hooks.run(Call(RULES, ('nonsense',), {}))
    assert (runs(RULES, 'done'), runs(RULES, 'failed')) == (before[0], before[1] + 1)


def test_no_address_is_in_it(vms: Dict[str, Vm]) -> None:
    out = xsisolate('metrics').out
    assert '10.9.0' not in out and 'fe80' not in out and vms['red'].mac not in out


def test_a_file_for_node_exporter(vms: Dict[str, Vm], tmp_path: Any) -> None:
    path = tmp_path / 'x.prom'
    assert xsisolate('metrics', '--write', str(path)).out == ''
    text = path.read_text(encoding='utf-8')
    found = {family.name: family for family in parse_old(text)}
    assert found['xsisolate_vif_sent_frames'].type == 'counter'
    assert found['xsisolate_vif_mode'].type == 'gauge'
    assert '# EOF' not in text and '# UNIT' not in text
    assert os.listdir(str(tmp_path)) == ['x.prom'] and os.stat(str(path)).st_mode & 0o777 == 0o644


@pytest.mark.parametrize('path, code, said', [
    ('/tmp/x.txt', USAGE, 'end in .prom'), ('/proc/nosuch/x.prom', FAILED, 'cannot be written')])
def test_a_file_that_cannot_be(vms: Dict[str, Vm], path: str, code: int, said: str) -> None:
    found = xsisolate('metrics', '--write', path, code=code)
    assert said in found.err and len(found.err.splitlines()) == 1


def test_every_family_is_as_openmetrics_wants_it() -> None:
    """Names, types and units; a hostile label's value comes back, but for what no label may hold.
    """
    samples = [Sample(name, (('name', HOSTILE),), 1.5) for name in FAMILIES]
    families = list(parse_open(format_metrics(samples)))
    assert [family.name for family in families] == list(FAMILIES)
    for family in families:
        wanted = FAMILIES[family.name]
        assert (family.type, family.unit) == (wanted.kind, wanted.unit)
        assert family.samples[0].labels['name'] == HOSTILE.replace('\x1b', '?')
        assert family.documentation == wanted.text
        assert not wanted.unit or family.name.endswith(wanted.unit)
