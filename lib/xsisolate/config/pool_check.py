"""A configuration for the whole pool: what `check` says of it, and what holds for pools alone."""
import re
from typing import Iterable, Iterator, Optional, Sequence, Tuple

from xsisolate.config.check import Checked, Remark, check_text
from xsisolate.config.load import parse_config
from xsisolate.errors import ConfigError
from xsisolate.policy.model import Config, PoolNetwork

LOCAL = re.compile(r'^local:[ \t]*(?:true|True|TRUE)[ \t]*(?:#.*)?$', re.MULTILINE)


def check_for_pool(text: str, name: str, networks: Optional[Sequence[PoolNetwork]]) -> Checked:
    """Return all that is wrong with a configuration for a pool with these networks."""
    checked = check_text(text, name, networks, lambda config: _find_bridges(config, networks or ()))
    if checked.errors or not parse_config(text, name).local:
        return checked
    return checked._replace(errors=(Remark(
        _line_of(text), 'local: true is for a host\'s own file, which then is not replaced by the '
        'pool\'s: take it out'),))


def says_local(text: str, name: str) -> bool:
    """Tell whether a host's own file says local: true, also if it has mistakes otherwise."""
    try:
        return parse_config(text, name).local
    except ConfigError:
        return bool(LOCAL.search(text))


def _find_bridges(config: Config,
                  networks: Iterable[PoolNetwork]) -> Iterator[Tuple[str, str, str]]:
    known = {network.bridge: network for network in networks}
    for key in config.networks:
        if key in known:
            yield key, '', ('a bridge\'s name, which may be another network\'s on another host, '
                            'or after an installation: write the uuid %s or the name-label'
                            % known[key].uuid)


def _line_of(text: str) -> int:
    match = LOCAL.search(text)
    return text.count('\n', 0, match.start()) + 1 if match else 0
