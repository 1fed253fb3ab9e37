"""What commands say of permissive VIFs: each line says that frames pass, and why."""
from typing import Any, Dict, List

import pytest

from xsisolate.cli import explain, refused
from xsisolate.diagnostics.across import combine
from xsisolate.diagnostics.refused_choice import ENFORCED, PERMISSIVE, is_wanted, parse_only
from xsisolate.errors import UsageError

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
