"""`permissive` in xsisolate.yaml, changed where it stands: comments and layout stay."""
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.config_strategies import NAMES, UUIDS, configs, yaml_text

from xsisolate.config.edit import enforce_all, permissive_networks, set_permissive
from xsisolate.config.load import NEW_TEXT, parse_config
from xsisolate.errors import ConfigError
from xsisolate.policy.model import Network

FILE = 'test.yaml'
UUID = '9a1c2b7e-0f4c-4a51-9f0b-6d1c2b7a9e10'
BLOCK = '''\
# the tenants of rack 7
version: 1      # as ever
grace: 20

networks:       # by bridge
  # the first one
  xapi3:        # tenants
    # behind the firewall
    subnets: [10.9.0.0/24]      # all of it
  "pool wide":
    default: isolated
groups: {red: {}}
# the end
'''


def edited(text, value, network=''):
    return set_permissive(text, FILE, value, network)


def check(before, after, value, network=''):
    """Check that the text means what it did, with one key changed, and has all its comments."""
    check_meaning(parse_config(before, FILE), parse_config(after, FILE), value, network)
    assert comments(before) <= comments(after) | {'# of the key'}


def check_meaning(old, new, value, network):
    if network:
        changed = old.networks.get(network, Network())._replace(permissive=value)
        assert new == old._replace(networks=dict(old.networks, **{network: changed}))
    else:
        assert new == old._replace(permissive=bool(value))


def comments(text):
    return set(re.findall('# .*', text.replace('\r', '')))


@pytest.mark.parametrize('value, network, line', [
    pytest.param(True, '', '\nversion: 1      # as ever\npermissive: true\ngrace: 20\n', id='top'),
    pytest.param(False, 'xapi3', '\n  xapi3:        # tenants\n    permissive: false\n'
                 '    # behind the firewall\n', id='a network'),
    pytest.param(True, 'pool wide', '\n  "pool wide":\n    permissive: true\n    default: iso',
                 id='a network, quoted'),
    pytest.param(True, 'xenbr0', '\nnetworks:       # by bridge\n  xenbr0:\n    permissive: true\n'
                 '  # the first one\n', id='a new network'),
    pytest.param(False, 'yes', '\n  "yes":\n    permissive: false\n', id='a name that YAML takes'),
    pytest.param(False, 'N\u00e4tz "1"', '\n  "N\u00e4tz \\"1\\"":\n', id='a name with all'),
    pytest.param(True, UUID, '\n  "%s":\n    permissive: true\n' % UUID, id='a uuid'),
])
def test_one_key_more(value, network, line):
    after = edited(BLOCK, value, network)
    assert line in after
    check(BLOCK, after, value, network)
    assert edited(after, value, network) == after
    check(after, edited(after, not value, network), not value, network)
    check(after, edited(after, None, network), None, network)


@pytest.mark.parametrize('network', [
    pytest.param('a\x7fb', id='DEL, which YAML refuses unless it is escaped'),
    pytest.param('\x85\u2028', id='ends of lines'),
    pytest.param('\udc80', id='a byte that is not UTF-8'),
    pytest.param('\U0001f5a7', id='beyond 16 bits'),
    pytest.param('pool wide ' * 20, id='longer than a line of YAML'),
])
def test_any_name_is_spelt_as_yaml_reads_it(network):
    after = edited(BLOCK, True, network)
    check(BLOCK, after, True, network)
    assert after.encode('utf-8').decode('utf-8') == after
    assert edited(after, None, network).count('permissive') == 0


@pytest.mark.parametrize('network', ['', 'xapi3', 'pool wide'])
def test_what_was_put_in_is_taken_out(network):
    assert edited(edited(BLOCK, True, network), None, network) == BLOCK


@pytest.mark.parametrize('before, value, network, after', [
    pytest.param(NEW_TEXT, True, '', 'version: 1\npermissive: true\n', id='a new file'),
    pytest.param('version: 1', True, '', 'version: 1\npermissive: true\n', id='no newline'),
    pytest.param('version: 1\r\ngrace: 1\r\n', True, '',
                 'version: 1\r\npermissive: true\r\ngrace: 1\r\n', id='as Windows writes it'),
    pytest.param('  version: 1\n  grace: 1\n', True, '',
                 '  version: 1\n  permissive: true\n  grace: 1\n', id='all of it to the right'),
    pytest.param('\ufeffversion: 1\n', True, '', '\ufeffversion: 1\npermissive: true\n',
                 id='a byte order mark'),
    pytest.param('---\nversion: 1\n', True, '', '---\nversion: 1\npermissive: true\n',
                 id='a document begins'),
    pytest.param('permissive: false # of the key\nversion: 1\n', True, '',
                 'permissive: true # of the key\nversion: 1\n', id='said otherwise'),
    pytest.param('version: 1\npermissive: true # of the key\ngrace: 1\n', None, '',
                 'version: 1\ngrace: 1\n', id='taken out'),
    pytest.param('version: 1\npermissive: true', None, '', 'version: 1\n', id='the last line'),
    pytest.param('version: 1\n"permissive": !!bool true\n', False, '',
                 'version: 1\n"permissive": false\n', id='quoted, and with a tag'),
    pytest.param('{version: 1}', True, '', '{permissive: true, version: 1}', id='in braces'),
    pytest.param('{version: 1, permissive: true, grace: 1}', None, '', '{version: 1, grace: 1}',
                 id='in braces, out of the middle'),
    pytest.param('{version: 1, permissive: true}', None, '', '{version: 1}',
                 id='in braces, out of the end'),
    pytest.param('{version: 1,\n # why\n permissive: true\n}', None, '',
                 '{version: 1,\n # why\n \n}', id='in braces, behind a comment'),
    pytest.param('version: 1\n', False, 'xapi3',
                 'version: 1\nnetworks:\n  xapi3:\n    permissive: false\n', id='no networks'),
    pytest.param('version: 1', False, 'xapi3',
                 'version: 1\nnetworks:\n  xapi3:\n    permissive: false\n',
                 id='no networks, no newline'),
    pytest.param('version: 1\nnetworks: {}\n', False, 'xapi3',
                 'version: 1\nnetworks: {xapi3: {permissive: false}}\n', id='empty networks'),
    pytest.param('{version: 1}', True, 'xapi3',
                 '{networks: {xapi3: {permissive: true}}, version: 1}', id='all in braces'),
    pytest.param('version: 1\nnetworks: {a: {}, b: {default: locked}}\n', True, 'a',
                 'version: 1\nnetworks: {a: {permissive: true}, b: {default: locked}}\n',
                 id='an empty network'),
    pytest.param('version: 1\nnetworks: {a: {}, b: {default: locked}}\n', True, 'b',
                 'version: 1\nnetworks: {a: {}, b: {permissive: true, default: locked}}\n',
                 id='a network in braces'),
    pytest.param('version: 1\nnetworks:\n  a: {default: locked}\n', True, 'b',
                 'version: 1\nnetworks:\n  b:\n    permissive: true\n  a: {default: locked}\n',
                 id='beside one in braces'),
    pytest.param('version: 1\nnetworks:\n  a:\n    permissive: true\n', None, 'a',
                 'version: 1\nnetworks:\n  a:\n    {}\n', id='its only key'),
    pytest.param('version: 1\nnetworks:\n  %s:\n    permissive: true\n' % UUID.upper(), False, UUID,
                 'version: 1\nnetworks:\n  %s:\n    permissive: false\n' % UUID.upper(),
                 id='a uuid in capitals'),
    pytest.param("version: 1\nnetworks: {'*': {permissive: true}}\n", False, 'a',
                 "version: 1\nnetworks: {a: {permissive: false}, '*': {permissive: true}}\n",
                 id='beside one for all others, that says nothing else'),
    pytest.param('{networks: {}, # why\n  version: 1}', False, '#',
                 '{networks: {"#": {permissive: false}}, # why\n  version: 1}',
                 id='a name that looks like a comment'),
    pytest.param('version: 1\n', None, 'a', 'version: 1\n', id='nothing to take out'),
    pytest.param('version: 1\n', False, '', 'version: 1\n', id='nothing to deny'),
])
def test_text_for_text(before, value, network, after):
    assert edited(before, value, network) == after
    if before != after:
        check(before, after, value, UUID if network == UUID else network)


@pytest.mark.parametrize('text, value, network, said', [
    pytest.param('? version\n: 1\n? networks\n: ? a\n  : default: locked\n', True, 'a',
                 'write permissive: true into networks.a by hand', id='explicit keys'),
    pytest.param('version: 1\n...\n', True, 'a', 'write permissive: true into networks.a by hand',
                 id='the document ends'),
    pytest.param('&x {version: 1}', True, '', 'write permissive: true at the top level by hand',
                 id='an anchor'),
    pytest.param('version: 1\nnetworks:\n  a: !!map {permissive: true, default: locked}\n', True,
                 'b', '', id='a tag beside'),
    pytest.param("version: 1\nnetworks: {'*': {default: isolated}}\n", False, 'a',
                 "what '*' says counts for it", id='one for all others'),
])
def test_what_is_not_clear_is_left(text, value, network, said):
    if not said:
        check(text, edited(text, value, network), value, network)
        return
    with pytest.raises(ConfigError) as refused:
        edited(text, value, network)
    assert said in str(refused.value) and 'nothing was written' in str(refused.value)
    assert str(refused.value).isprintable() and str(refused.value).startswith(FILE + ': ')


def test_a_broken_file_is_refused_as_ever():
    with pytest.raises(ConfigError, match='^test.yaml:2: colour: unknown key'):
        edited('version: 1\ncolour: red\n', True)


def test_enforce_all():
    text = BLOCK.replace('version', 'permissive: true\nversion', 1).replace(
        '    # behind', '    permissive: true\n    # behind').replace(
            '    default: isolated', '    permissive: false\n    default: isolated')
    assert permissive_networks(parse_config(text, FILE)) == ['xapi3']
    assert enforce_all(text, FILE) == BLOCK.replace(
        '    default: isolated', '    permissive: false\n    default: isolated')
    assert enforce_all(BLOCK, FILE) == BLOCK


# --- any file --------------------------------------------------------------------------------

VALUES = st.none() | st.booleans()
FLOW = st.sampled_from([None, True, False])


@st.composite
def texts(draw):
    """Draw a configuration as PyYAML writes it in one of its styles, with comments."""
    tree = yaml.safe_load(yaml_text(draw(configs())))
    if draw(st.booleans()):
        del tree['permissive']
    text = yaml.safe_dump(tree, default_flow_style=draw(FLOW), indent=draw(st.integers(2, 5)),
                          sort_keys=draw(st.booleans()), width=draw(st.sampled_from([40, 1000])),
                          explicit_start=draw(st.booleans()))
    lines = text.split('\n')
    for number in draw(st.lists(st.integers(0, len(lines) - 1), max_size=3)):
        lines[number] += ' # comment %d' % number
    return '\n'.join(lines)


def drawn_comments(text):
    """Return the comments of texts(); a name may have a '#' as well."""
    return set(re.findall('# comment [0-9]+', text))


@settings(max_examples=200, deadline=None)
@given(texts(), VALUES, st.booleans(), st.data())
def test_any_file(text, value, at_top, data):
    config = parse_config(text, FILE)
    names = sorted(set(config.networks) - {'*'})
    network = '' if at_top else data.draw(st.sampled_from(names) if names and data.draw(
        st.booleans()) else NAMES | UUIDS | st.text(min_size=1))
    try:
        after = edited(text, value, network)
    except ConfigError as error:
        assert str(error).isprintable() and 'nothing was written' in str(error)
        assert network and (network not in names), 'what is there can be changed'
        return
    new = parse_config(after, FILE)
    if after == text:
        assert value is None or new.permissive is value or network
        return
    check_meaning(config, new, value, network)
    lost = drawn_comments(text) - drawn_comments(after)
    assert len(lost) <= (1 if value is None else 0)
    assert edited(after, value, network) == after


@settings(deadline=None)
@given(texts())
def test_enforce_all_leaves_nothing_permissive(text):
    old, new = parse_config(text, FILE), parse_config(enforce_all(text, FILE), FILE)
    assert not new.permissive and not permissive_networks(new)
    assert silenced(new) == silenced(old)


def silenced(config):
    """Return a configuration without what it says of permissive."""
    return config._replace(permissive=False, networks={
        name: network._replace(permissive=None) for name, network in config.networks.items()})
