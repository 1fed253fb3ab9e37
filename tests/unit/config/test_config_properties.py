"""Any configuration reads back from YAML and from the compiled copy as it was."""
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from support.config_strategies import configs, yaml_text

from xsisolate.config.compiled import decode, encode
from xsisolate.config.load import parse_config
from xsisolate.errors import ConfigError


@settings(deadline=None)
@given(configs())
def test_what_yaml_writes_reads_back(config):
    assert parse_config(yaml_text(config), 'test.yaml') == config


@given(configs())
def test_the_compiled_copy_reads_back(config):
    copy = json.loads(json.dumps(encode(config)))
    assert decode(copy) == config


WORDS = st.sampled_from((
    'version: 1', 'groups:', 'networks:', 'red:', 'rules:', ' ', '  ', '\n', '- ', '[',
    ']', '{', '}', ': ', ', ', '&a', '*a', '<<: ', '!x ', '!!str ', '!a%0Ab ', '"', "'",
    '|', '>', '%YAML 9.9', '%TAG ! x', '---', '...', '\t', '\0', '\x85', '\u2028',
    '\ud800', '#', '?', '"\\UFFFFFFFF"', '"\\ud800"', '"\\e"', '!<%FF> ', '!x!y ',
    'no', '1', '10.9', '~', '52:54:00:12:34:56'))


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(), st.lists(WORDS, max_size=20).map(''.join)))
def test_any_text_is_a_config_or_one_line(text):
    try:
        parse_config('version: 1\n' + text, 'test.yaml')
    except ConfigError as error:
        assert str(error).isprintable() and str(error).encode('ascii')
        assert str(error).startswith('test.yaml:')
