"""xsisolate.yaml -> Config, and the compiled JSON copy that the hooks read.

Every boot of a VM runs hooks that need the configuration, so PyYAML is loaded only when
the copy does not carry the file's present stamp. The copy is a cache and no more: if it
cannot be read or written, the file itself is read, and nothing else changes.
"""
import json
import os
import sys

from xsisolate import __version__
from xsisolate.errors import ConfigError
from xsisolate.paths import rooted
from xsisolate.policy.model import Config, Gateway, Group, Holder, Mode, Network, Prefix, Service
from xsisolate.typing_compat import Any, Dict, FrozenSet, List, Mapping, Optional, Union

CONFIG_FILE = '/etc/xsisolate/xsisolate.yaml'
COMPILED_FILE = '/run/xsisolate/config.json'

MAX_SIZE = 1 << 20      # bytes; more is no configuration but an accident

Stamp = List[Union[str, int]]


def load_config() -> Config:
    """Return the host's configuration, the defaults if there is no file.

    Raises ConfigError with file and line.
    """
    path = rooted(CONFIG_FILE)
    try:
        stamp = _stamp(os.stat(path))
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise _unreadable(path, error) from error
    config = _read_compiled(stamp)
    return _compile_config(path) if config is None else config


def read_last_config() -> Optional[Config]:
    """Return what the file said when it was last valid, None if that is not known.

    The running VIFs of a host whose file is broken keep what they had by this one.
    """
    return _read_compiled(None)


def parse_config(text: str, name: str) -> Config:
    """Return the configuration that a YAML text writes, or raise ConfigError.

    `name` is what the errors call the file.
    """
    try:
        if sys.flags.no_site:       # so hooks start; PyYAML may be where others' modules are
            import site
            site.main()
        from xsisolate.config import schema, yaml_document  # slow: not for every hook
    except ImportError as error:
        raise ConfigError('%s: cannot be read without PyYAML: %s'
                          % (name, error)) from error
    return schema.parse_tree(yaml_document.read_tree(text, name))


def config_file() -> str:
    """Return where the host's configuration is."""
    return rooted(CONFIG_FILE)


def read_config_text(path: str) -> str:
    """Return a configuration file's text, or raise ConfigError."""
    try:
        with open(path, 'rb') as file:
            return _decode(file.read(MAX_SIZE + 1), path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> ConfigError:
    return ConfigError('%s: cannot be read: %s' % (path, error.strerror))


def _stamp(status: os.stat_result) -> Stamp:
    """Return what tells one state of the file, and one release of us, from another."""
    return [__version__, status.st_mtime_ns, status.st_ctime_ns, status.st_size,
            status.st_ino]


def _compile_config(path: str) -> Config:
    """Return what the file says, and leave the compiled copy for the next hook."""
    try:
        with open(path, 'rb') as file:
            stamp = _stamp(os.fstat(file.fileno()))     # before reading: never too new
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    config = parse_config(_decode(data, path), path)
    _write_compiled(stamp, config)
    return config


def _decode(data: bytes, path: str) -> str:
    if len(data) > MAX_SIZE:
        raise ConfigError('%s: has more than %d bytes' % (path, MAX_SIZE))
    try:
        return data.decode('utf-8')
    except UnicodeDecodeError as error:
        raise ConfigError('%s:%d: is not UTF-8' % (
            path, data.count(b'\n', 0, error.start) + 1)) from None


def _read_compiled(stamp: Optional[Stamp]) -> Optional[Config]:
    """Return the compiled copy if it is whole and of this stamp; None: of this release."""
    try:
        with open(rooted(COMPILED_FILE), encoding='ascii') as file:
            compiled = json.load(file)
        if compiled['stamp'] != stamp if stamp else compiled['stamp'][0] != __version__:
            return None
        return _decode_config(compiled['config'])
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None


def _write_compiled(stamp: Stamp, config: Config) -> None:
    path = rooted(COMPILED_FILE)
    partial = '%s.%d' % (path, os.getpid())
    text = json.dumps({'stamp': stamp, 'config': _encode_config(config)})
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        _write_private(partial, text)
        os.rename(partial, path)
    except OSError:     # a full /run must not stop a VM; the next hook tries again
        _remove(partial)


def _write_private(path: str, text: str) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(number, 'w', encoding='ascii') as file:
        file.write(text)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass        # it was never made


def _encode_config(config: Config) -> Dict[str, Any]:
    return {'accept_unsealed': config.accept_unsealed, 'grace': config.grace,
            'networks': {name: _encode_fields(network)
                         for name, network in config.networks.items()},
            'groups': {name: _encode_fields(group)
                       for name, group in config.groups.items()}}


def _encode_fields(value: Union[Network, Group]) -> Dict[str, Any]:
    return {field: _encode(item) for field, item in value._asdict().items()}


def _encode(value: Any) -> Any:
    """Return a model value as JSON has it: tuples are lists, sets are sorted lists."""
    if isinstance(value, frozenset):
        value = tuple(sorted(value))
    return [_encode(item) for item in value] if isinstance(value, tuple) else value


def _decode_config(data: Mapping[str, Any]) -> Config:
    return Config(
        accept_unsealed=data['accept_unsealed'],
        grace=data['grace'],
        networks={name: _decode_network(network)
                  for name, network in data['networks'].items()},
        groups={name: _decode_group(group) for name, group in data['groups'].items()})


def _decode_network(data: Mapping[str, Any]) -> Network:
    return Network(
        default=Mode(data['default']),
        subnets=_decode_prefixes(data['subnets']),
        gateways=tuple(_decode_gateway(*gateway) for gateway in data['gateways']),
        dhcp_servers=_decode_prefixes(data['dhcp_servers']),
        fail_closed=data['fail_closed'],
        holders=tuple(Holder(vm_uuid, devid, frozenset(roles), _decode_prefixes(addresses))
                      for vm_uuid, devid, roles, addresses in data['holders']))


def _decode_gateway(ipv4: Optional[List[int]], ipv6: Optional[List[int]],
                    mac: Optional[str], roles: List[str]) -> Gateway:
    return Gateway(ipv4=Prefix(*ipv4) if ipv4 else None,
                   ipv6=Prefix(*ipv6) if ipv6 else None, mac=mac, roles=frozenset(roles))


def _decode_group(data: Mapping[str, Any]) -> Group:
    vms, rules = data['vms'], data['rules']
    return Group(
        addresses=_decode_prefixes(data['addresses']),
        vms=None if vms is None else frozenset(vms),
        rules=None if rules is None else frozenset(Service(*rule) for rule in rules),
        reach=frozenset(data['reach']))


def _decode_prefixes(data: List[List[int]]) -> FrozenSet[Prefix]:
    return frozenset(Prefix(*numbers) for numbers in data)
