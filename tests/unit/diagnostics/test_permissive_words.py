"""What commands say of permissive VIFs: each line says that frames pass, and why."""
from typing import Any, Dict, List

import pytest

from support.inventories import make_inventory, make_matrix, policies
from xsisolate.cli import explain, matrix, refused
from xsisolate.diagnostics.across import combine
from xsisolate.diagnostics.matrix_refusals import mark_refused
from xsisolate.diagnostics.permissive import examine_permissive
from xsisolate.diagnostics.refused_choice import ENFORCED, PERMISSIVE, is_wanted, parse_only
from xsisolate.errors import UsageError
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.refusal_book import Row
from xsisolate.planner.refusal_record import EGRESS, Refusal
from xsisolate.policy.model import Config, Network

PARTY = {'name': 'red', 'address': '10.9.0.11', 'mac': '', 'vif': 'vif1.0', 'vm': 'v'}


def row(passed: bool) -> Dict[str, Any]:
    """Return a row of the record, as JSON has it."""
    return {'source': PARTY, 'target': dict(PARTY, name='blue'), 'service': 'tcp/443',
            'answer': False, 'reason': 'not a peer on egress', 'because': 'egress: no', 'last': 1.0,
            'frames': 3, 'owner': 'red (vif1.0)', 'passed': passed}


def test_a_row_has_a_verdict() -> None:
    at = refused.TITLES.index('VERDICT')
    assert refused.cells(row(False), 2.0)[at] == 'refused'
    assert refused.cells(row(True), 2.0)[at].text == 'passed'
    assert list(refused.passed([row(False)])) == []
    text, = refused.passed([row(False), row(True)])
    assert 'the VIF is permissive' in text


def test_a_line_of_follow_says_that_it_passed() -> None:
    assert refused.line(row(True), 3) == (
        'red to blue tcp/443: would be refused, passed (permissive): not a peer on egress, '
        'egress: no (3 frames)')
    assert 'permissive' not in refused.line(row(False), 3)


def test_which_rows_are_wanted() -> None:
    assert [(passed, only) for passed in (False, True) for only in ('', PERMISSIVE, ENFORCED)
            if is_wanted(passed, only)] == [
                (False, ''), (False, ENFORCED), (True, ''), (True, PERMISSIVE)]
    assert parse_only(PERMISSIVE) == PERMISSIVE
    with pytest.raises(UsageError, match='expected permissive or enforced'):
        parse_only('some')


# --- explain -----------------------------------------------------------------------------------


def answer(verdict: str, would: str) -> Dict[str, Any]:
    """Return an explanation, as JSON has it."""
    return {'source': 'red', 'target': 'blue', 'service': 'tcp/443', 'verdict': verdict,
            'towards': None, 'arrives': False, 'host': 'h', 'asked': False, 'answered': True,
            'stopped_by': 'blue, ingress' if verdict == 'stopped' else None, 'differs': False,
            'would_be_stopped_by': would or None}


def test_the_headline_says_by_whose_policy_it_would_end() -> None:
    assert explain.headline(answer('reaches', 'red, egress')) == (
        'REACHES, but red, egress would stop it, were it not permissive')
    assert explain.headline(answer('reaches', '')) == 'REACHES'


def test_a_step_says_that_it_passes() -> None:
    steps: List[Dict[str, Any]] = [{
        'side': 'egress', 'who': 'red', 'admits': True, 'would_refuse': True, 'because': 'no'}]
    lines = list(explain.passage_lines({
        'source': 'red', 'target': 'blue', 'network': 'n', 'steps': steps, 'leaves': False,
        'switch': None, 'switch_not_asked': 'x'}, 'request'))
    assert lines[1] == '     ~   red, egress: would refuse it, and it passes (permissive): no'


@pytest.mark.parametrize('last, would', [('reaches', 'red, egress'), ('stopped', None)])
def test_two_hosts_together(last: str, would: str) -> None:
    found = combine([answer('leaves', 'red, egress'), answer(last, '')], True)
    assert found['would_be_stopped_by'] == would


# --- matrix ------------------------------------------------------------------------------------


def test_the_grid_marks_what_passes_and_would_be_refused() -> None:
    network, = make_matrix(60).networks
    grid = list(matrix.grid_lines(network))
    lax = next(line for line in grid if ' lax-33' in line)
    assert lax.count('~') == 7      # three locked VIFs and four unmanaged ones, by no group of its
    assert any('~ passes and would be refused' in line for line in grid)
    text, = matrix.permissive_lines(network)
    assert text.endswith('policies protect nobody: lax-33 odd-35')
    assert not list(matrix.permissive_lines(make_matrix(20).networks[0]))


def test_sets_say_what_would_be_left() -> None:
    network, = make_matrix(60).networks
    rows = {matrix.set_row(network, at, alike)[1].text: matrix.set_row(network, at, alike)
            for at, alike in enumerate(network.sets)}
    odd = rows['unmanaged, would be quarantined']
    assert odd[5].count('(would be nothing)') == 3
    assert odd[6] == 'everything (would be nothing)'
    lax = rows['tenant-01, permissive']
    assert 'would' not in lax[5].split(', ')[0] and '(would be nothing)' in lax[5]


def test_frames_that_passed_are_counted_by_themselves() -> None:
    network, = make_matrix(8).networks
    one, other = network.views[:2]
    refusal = Refusal(1, NETWORK, one.vif.mac, other.vif.mac, '', '', 'arp', False, 'x', EGRESS,
                      False)
    found = mark_refused(network, [Row(network.place.bridge, kind, None, None, frames, 0, 0)
                                   for kind, frames in ((refusal, 2), (refusal._replace(
                                       passed=True), 5))])
    assert (found.refused[0], found.passed[0]) == ({1: 2}, {1: 5})
    said = list(matrix.refused_lines(found))
    assert len(said) == 2 and '--permissive' in said[1]


# --- doctor ------------------------------------------------------------------------------------


@pytest.mark.parametrize('config, named', [
    (Config(permissive=True), 'networks all that do not say permissive: false'),
    (Config(networks={'*': Network(permissive=True), 'xapi3': Network(permissive=False)}),
     'networks all others ("*")'),
    (Config(networks={'b': Network(permissive=True), 'a': Network(permissive=True)}),
     'networks a, b'), (Config(), '')])
def test_doctor_names_permissive_networks(config: Config, named: str) -> None:
    inventory = make_inventory(list(policies(8)))
    found, = examine_permissive(inventory._replace(
        configuration=inventory.configuration._replace(config=config)))
    assert found.state == ('warning' if named else 'ok')
    assert not named or found.found.startswith('protects nobody: %s: what' % named)
