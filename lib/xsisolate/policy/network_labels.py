"""Network name-labels as keys of the configuration: uuids take their place, which all others read.

A label is not unique, and an administrator may change it in XAPI. A label of no network or of
several is an error: if it were ignored, its network would have the settings of all others.
"""
from xsisolate.errors import ConfigError, UsageError
from xsisolate.policy.address import quoted
from xsisolate.policy.model import Config, PoolNetwork
from xsisolate.policy.resolve import ANY_NETWORK
from xsisolate.typing_compat import Callable, Iterable, Optional, Sequence

SHOWN = 5               # of the labels that there are


def resolve_labels(config: Config, keys: Iterable[str], pool: Optional[Sequence[PoolNetwork]],
                   is_bridge: Callable[[str], bool] = lambda name: False) -> Config:
    """Return the configuration with uuids in the place of those keys that are name-labels.

    `pool` are XAPI's networks, None if they are not known; `is_bridge` then tells of this
    host's. Raises ConfigError.
    """
    networks = dict(config.networks)
    for key in keys:
        if is_bridge(key) if pool is None else any(key == one.bridge for one in pool):
            continue
        network = find_labelled(key, pool)
        for other in (network.uuid, network.bridge):
            if other in networks:
                raise _wrong(key, 'is the network of %s, which is written as well: take one of '
                             'them out' % other)
        networks[network.uuid] = networks.pop(key)
    return config._replace(networks=networks)


def find_labelled(label: str, pool: Optional[Sequence[PoolNetwork]]) -> PoolNetwork:
    """Return the one network that has a name-label, or raise ConfigError."""
    if pool is None:
        raise _wrong(label, 'is not a bridge of this host, and XAPI has not told the daemon the '
                     'name-labels yet: see that xsisolate-watch runs, or write the network\'s uuid')
    found = [network for network in pool if network.label == label]
    if not found:
        raise _wrong(label, 'is neither a bridge of this host nor a name-label of the pool, which '
                     'has %s: write one of these, or a network\'s uuid'
                     % _list(sorted({one.label for one in pool})))
    if len(found) > 1:
        raise _wrong(label, 'is the name-label of %d networks (%s): write the uuid of the one that '
                     'is meant' % (len(found), ', '.join(sorted(one.uuid for one in found))))
    return found[0]


def _wrong(key: str, text: str) -> ConfigError:
    return ConfigError('networks.%s: %s' % (quoted(key), text))


def _list(labels: Sequence[str]) -> str:
    more = (' and %d more' % (len(labels) - SHOWN),) if len(labels) > SHOWN else ()
    return ', '.join(map(quoted, labels[:SHOWN])) + ''.join(more) or 'none'


def find_key(config: Config, name: str, pool: Optional[Sequence[PoolNetwork]],
             is_bridge: Callable[[str], bool] = lambda name: False) -> str:
    """Return the key under which a network is written, or may be: `name` is any of its names.

    Raises UsageError where that is the name of no network, or of several.
    """
    if name in config.networks or name == ANY_NETWORK:
        return name
    if name.lower() in config.networks:
        return name.lower()         # a uuid
    found = [one for one in pool or ()
             if name in (one.bridge, one.label) or name.lower() == one.uuid]
    if len(found) > 1:
        raise UsageError('%s is a name of %d networks (%s): name the uuid of the one that is meant'
                         % (quoted(name), len(found), ', '.join(sorted(one.uuid for one in found))))
    if not found and not is_bridge(name):
        raise UsageError('%s is neither in the configuration nor a bridge, uuid or name-label of a '
                         'network%s' % (quoted(name), '' if pool is not None else
                                        ', as far as is known: XAPI has not told the daemon'))
    keys = [key for one in found for key in (one.bridge, one.uuid, one.label)
            if key in config.networks]
    new = [one.bridge if is_bridge(one.bridge) else one.uuid for one in found]
    return (keys + new + [name])[0]
