"""What commands say of permissive VIFs: each line says that frames pass, and why."""
from typing import Any, Dict, List

import pytest

from xsisolate.cli import explain
from xsisolate.diagnostics.across import combine


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
