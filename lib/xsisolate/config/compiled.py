"""The compiled JSON copy of the configuration, which the hooks read.

It is a cache and no more: if it cannot be read or written, the file itself is read, and nothing
else changes.
"""
import json
import os

from xsisolate import __version__
from xsisolate.paths import rooted
from xsisolate.policy.model import Config, Gateway, Group, Holder, Mode, Network, Prefix, Service
from xsisolate.typing_compat import Any, Callable, Dict, List, Optional, Union

COMPILED_FILE = '/run/xsisolate/config.json'

# JSON has lists and mappings only: all else is {kind: content}. A kind is a class of the model,
# whose content is its fields by name, or one of these.
RECORDS: Dict[str, Any] = {kind.__name__: kind for kind in (
    Config, Gateway, Group, Holder, Network, Prefix, Service)}
OTHERS: Dict[str, Callable[[Any], Any]] = {
    'Mode': Mode, 'set': lambda items: frozenset(map(decode, items)),
    'dict': lambda items: {key: decode(item) for key, item in items.items()}}

Stamp = List[Union[str, int]]


def encode(value: Any) -> Any:
    """Return a value of the model as JSON has it."""
    kind = type(value).__name__
    if kind in RECORDS:
        return {kind: {field: encode(item) for field, item in value._asdict().items()}}
    if isinstance(value, Mode):
        return {'Mode': int(value)}
    if isinstance(value, frozenset):
        return {'set': [encode(item) for item in sorted(value)]}
    if isinstance(value, dict):
        return {'dict': {key: encode(item) for key, item in value.items()}}
    return [encode(item) for item in value] if isinstance(value, tuple) else value


def decode(data: Any) -> Any:
    """Return the value that `encode` has made this of; raises whatever such a thing raises."""
    if isinstance(data, list):
        return tuple([decode(item) for item in data])
    if not isinstance(data, dict):
        return data
    (kind, content), = data.items()
    if kind in RECORDS:
        fields = RECORDS[kind]._fields
        if set(content) != set(fields):     # one that is missing must not become its default
            raise ValueError('%s has the fields %s' % (kind, ', '.join(fields)))
        return RECORDS[kind](*[decode(content[field]) for field in fields])
    return OTHERS[kind](content)


def read_compiled(stamp: Optional[Stamp]) -> Optional[Config]:
    """Return the compiled copy if it is whole and of this stamp; None: of this release."""
    try:
        with open(rooted(COMPILED_FILE), encoding='ascii') as file:
            compiled = json.load(file)
        if compiled['stamp'] != stamp if stamp else compiled['stamp'][0] != __version__:
            return None
        config = decode(compiled['config'])
        return config if isinstance(config, Config) else None
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None


def write_compiled(stamp: Stamp, config: Config) -> None:
    """Leave the copy for the next hook."""
    path = rooted(COMPILED_FILE)
    partial = '%s.%d' % (path, os.getpid())
    text = json.dumps({'stamp': stamp, 'config': encode(config)})
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
