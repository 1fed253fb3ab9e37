"""xsisolate.yaml -> Config.

Every boot of a VM runs hooks that need the configuration, so PyYAML is loaded only when
the compiled copy (compiled.py) does not carry the file's present stamp.
"""
import os
import sys

from xsisolate import __version__
from xsisolate.config.compiled import Stamp, read_compiled, write_compiled
from xsisolate.errors import ConfigError
from xsisolate.paths import rooted
from xsisolate.policy.model import Config
from xsisolate.typing_compat import Optional

CONFIG_FILE = '/etc/xsisolate/xsisolate.yaml'
NEW_TEXT = 'version: 1\n'       # of a file that is not there yet: it says what its absence does

MAX_SIZE = 1 << 20      # bytes; more is not a configuration but an accident


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
    config = read_compiled(stamp)
    return _compile_config(path) if config is None else config


def read_last_config() -> Optional[Config]:
    """Return what the file said when it was last valid, None if that is not known.

    The running VIFs of a host whose file is broken keep what they had by this one.
    """
    return read_compiled(None)


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
            return decode_config(file.read(MAX_SIZE + 1), path)
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
    config = parse_config(decode_config(data, path), path)
    write_compiled(stamp, config)
    return config


def decode_config(data: bytes, path: str) -> str:
    """Return the text of a configuration, or raise ConfigError."""
    if len(data) > MAX_SIZE:
        raise ConfigError('%s: has more than %d bytes' % (path, MAX_SIZE))
    try:
        return data.decode('utf-8')
    except UnicodeDecodeError as error:
        raise ConfigError('%s:%d: is not UTF-8' % (
            path, data.count(b'\n', 0, error.start) + 1)) from None
