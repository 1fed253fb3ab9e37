"""Grafana's dashboard asks for metrics that there are, by labels that they have."""
import json
import os
import re

import pytest
from sandbox.pythons import ROOT
from xsisolate.diagnostics.metrics import COUNTER, FAMILIES

LABELS = {'vm', 'name', 'device', 'mode', 'seal', 'kind', 'reason', 'bridge', 'hook', 'outcome',
          'version', 'instance'}


def load():
    with open(os.path.join(ROOT, 'docs', 'grafana.json'), encoding='utf-8') as file:
        return json.load(file)


def queries():
    board = load()
    yield from (target['expr'] for panel in board['panels'] for target in panel['targets'])
    yield from (one['query'] for one in board['templating']['list'] if one['type'] == 'query')


SAMPLES = {name + '_total' * (family.kind == COUNTER) for name, family in FAMILIES.items()}


@pytest.mark.parametrize('query', list(queries()))
def test_every_query_is_about_a_metric(query):
    asked = set(re.findall(r'xsisolate_\w+', query))
    assert asked and asked <= SAMPLES
    grouped = re.findall(r'by \(([^)]*)\)', query)
    chosen = re.findall(r'[{,] *(\w+)[!=]', query)
    assert set(chosen) | {label.strip() for words in grouped
                          for label in words.split(',')} <= LABELS
    assert query.count('(') == query.count(')') and query.count('{') == query.count('}')


def test_every_metric_is_shown_or_says_why_not():
    """The flows of a VIF are for those who ask."""
    shown = {word for query in queries() for word in re.findall(r'xsisolate_\w+', query)}
    assert SAMPLES - shown == {'xsisolate_vif_flows', 'xsisolate_pool_connected'}


def test_panels_do_not_overlap():
    places = [tuple(panel['gridPos'][key] for key in 'xywh') for panel in load()['panels']]
    assert len(set(places)) == len(places)
    assert all(x + w <= 24 for x, _, w, _ in places)
    assert len({panel['id'] for panel in load()['panels']}) == len(places)
