"""The pool's networks: a file by the daemon's child for hooks, which must not ask XAPI."""
import json
import os

from xsisolate.errors import ConfigError
from xsisolate.paths import rooted
from xsisolate.policy.model import PoolNetwork
from xsisolate.typing_compat import Iterable, Optional, Tuple

FILE = '/run/xsisolate/networks.json'
VERSION = 1
NETDEV = '/sys/class/net/%s'
OF_HARDWARE = '/device'


def read_networks() -> Optional[Tuple[PoolNetwork, ...]]:
    """Return the networks, None if XAPI has not answered since boot.

    The file is {"version": 1, "networks": [[uuid, bridge, name-label], ...]}; anything else
    is a ConfigError.
    """
    path = networks_file()
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
        if content['version'] != VERSION:
            raise ValueError('not a file of version %d' % VERSION)
        return tuple(_network(*fields) for fields in content['networks'])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError('%s: %s' % (path, error.strerror)) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError('%s: %s' % (path, error)) from error


def write_networks(networks: Iterable[PoolNetwork]) -> bool:
    """Write the networks, if the file says something else; return whether it did."""
    from xsisolate.dom0.linux.atomic_file import (put_file)
    text = '{"version": %d, "networks": [\n%s\n]}\n' % (
        VERSION, ',\n'.join(json.dumps(network) for network in sorted(networks)))
    return put_file(networks_file(), text)


def may_be_bridge(name: str) -> bool:
    """Tell whether this host has a device of that name that is not hardware."""
    device = NETDEV % name
    return '/' not in name and os.path.exists(device) and not os.path.exists(device + OF_HARDWARE)


def _network(uuid: str, bridge: str, label: str) -> PoolNetwork:
    if not all(isinstance(text, str) for text in (uuid, bridge, label)):
        raise ValueError('not a network: %.80r' % ((uuid, bridge, label),))
    return PoolNetwork(uuid, bridge, label)


def networks_file() -> str:
    """Return where the networks are written."""
    return rooted(FILE)
