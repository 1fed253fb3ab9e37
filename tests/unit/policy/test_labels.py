"""Name-labels of networks as keys of the configuration."""
import pytest

from xsisolate.errors import ConfigError, UsageError
from xsisolate.policy.model import Config, Mode, Network, PoolNetwork
from xsisolate.policy.network_labels import find_key, resolve_labels
from xsisolate.policy.resolve import find_network, is_fail_closed, possible_labels

ONE, TWO, THREE = ('6b9a3a0a-3d1c-9d7e-2d3c-4b5a6978879%d' % number for number in (1, 2, 3))
POOL = (PoolNetwork(ONE, 'xapi1', 'Tenants'), PoolNetwork(TWO, 'xenbr0', 'Twins'),
        PoolNetwork(THREE, 'br-lab', 'Twins'))
CLOSED = Network(default=Mode.ISOLATED, fail_closed=True)


def config_of(*keys):
    return Config(networks={key: CLOSED for key in keys})


def resolve(*keys, pool=POOL, **more):
    config = config_of(*keys)
    return set(resolve_labels(config, possible_labels(config), pool, **more).networks)


@pytest.mark.parametrize('key, possible', [
    ('*', False), ('xenbr0', False), ('xapi120', False), ('xenapi', False), (ONE, False),
    ('Tenants', True), ('br-lab', True), ('xapi', True), ('xapi1x', True), ('1xapi', True),
    (ONE[:-1], True), (ONE[:-1] + 'g', True), ('Pool-wide network 0', True), (ONE + ' ', True)])
def test_what_may_be_a_label(key, possible):
    assert possible_labels(config_of(key)) == ((key,) if possible else ())


@pytest.mark.parametrize('keys, found', [
    ((), set()), (('*', 'xapi7', TWO), {'*', 'xapi7', TWO}), (('Tenants',), {ONE}),
    (('*', 'Tenants', 'xenbr0'), {'*', ONE, 'xenbr0'}), (('br-lab',), {'br-lab'})])
def test_labels_become_uuids(keys, found):
    assert resolve(*keys) == found


def test_the_network_has_its_settings():
    config = resolve_labels(config_of('Tenants'), ('Tenants',), POOL)
    assert find_network(config, 'xapi1', ONE.upper()) == CLOSED
    assert find_network(config, 'xenbr0', TWO) == Network()
    assert is_fail_closed(config, ['xapi1', ONE]) and not is_fail_closed(config, ['xenbr0', TWO])


@pytest.mark.parametrize('keys, pool, words', [
    (['tenants'], POOL, ["networks.'tenants': is neither a bridge of this host nor a name-label",
                         "'Tenants'", "'Twins'", "or a network's uuid"]),
    (['Tenants '], POOL, ["networks.'Tenants ': is neither a bridge"]),
    (['Twins'], POOL, ['the name-label of 2 networks', TWO, THREE, 'write the uuid']),
    (['Tenants'], (), ['which has none']),
    (['Tenants'], None, ['XAPI has not told the daemon the name-labels yet',
                         'xsisolate-watch']),
    (['br-lab'], None, ['is not a bridge of this host']),
    (['Tenants', ONE], POOL, ['is the network of ' + ONE]),
    (['Tenants', 'xapi1'], POOL, ['is the network of xapi1']),
    (['bad\nname'], POOL, [r"networks.'bad\nname'"]),
    (['x'], [PoolNetwork(ONE, 'xapi1', 'label %d' % number) for number in range(9)],
     ["'label 4' and 4 more"])])
def test_what_cannot_be_meant_is_an_error(keys, pool, words):
    with pytest.raises(ConfigError) as refused:
        resolve(*keys, pool=pool)
    text = str(refused.value)
    assert text.isprintable() and not [word for word in words if word not in text], text


def test_a_bridge_named_by_hand_needs_no_xapi():
    assert resolve('br-lab', pool=None, is_bridge=lambda name: name == 'br-lab') == {'br-lab'}
    with pytest.raises(ConfigError):        # what XAPI says counts more
        resolve('eth7', is_bridge=lambda name: True)


@pytest.mark.parametrize('keys, name, on_host, key', [
    pytest.param(('xapi1',), 'xapi1', True, 'xapi1', id='as it is written'),
    pytest.param(('xapi1',), 'Tenants', True, 'xapi1', id='written by bridge, named by label'),
    pytest.param(('Tenants',), ONE.upper(), False, 'Tenants', id='by label, named by uuid'),
    pytest.param((ONE,), 'xapi1', True, ONE, id='by uuid, named by bridge'),
    pytest.param((ONE,), ONE.upper(), True, ONE, id='a uuid in capitals'),
    pytest.param((ONE, 'xapi1'), 'Tenants', True, 'xapi1', id='the bridge counts first'),
    pytest.param((), 'Tenants', True, 'xapi1', id='not written: by bridge on the host'),
    pytest.param((), 'Tenants', False, ONE, id='not written: by uuid for the pool'),
    pytest.param((), 'xapi1', False, ONE, id='not written, named by bridge, for the pool'),
    pytest.param((), '*', False, '*', id='all others'),
    pytest.param(('gone',), 'gone', False, 'gone', id='one that XAPI does not have'),
])
def test_under_which_key_a_network_is(keys, name, on_host, key):
    assert find_key(config_of(*keys), name, POOL, lambda bridge: on_host) == key


@pytest.mark.parametrize('name, pool, said', [
    ('nowhere', POOL, 'neither in the configuration nor a bridge'),
    ('nowhere', None, 'XAPI has not told the daemon'),
    ('Twins', POOL, 'a name of 2 networks (%s, %s)' % (TWO, THREE))])
def test_a_network_that_is_not_known(name, pool, said):
    with pytest.raises(UsageError) as refused:
        find_key(Config(), name, pool)
    assert said in str(refused.value)


def test_a_bridge_that_xapi_has_not_told_of():
    assert find_key(Config(), 'xapi9', None, lambda bridge: bridge == 'xapi9') == 'xapi9'
