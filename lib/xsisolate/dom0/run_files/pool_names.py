"""What XAPI calls the VMs of the pool, by their VIFs: written by the daemon's child for commands.

Only root may read it: names are an administrator's.
"""
import json
from typing import Dict, Iterable, Mapping, NamedTuple, Tuple

from xsisolate.dom0.linux.atomic_file import put_file, read_file
from xsisolate.errors import HostError
from xsisolate.paths import rooted

FILE = '/run/xsisolate/names.json'
VERSION = 1


class VifName(NamedTuple):
    """A VIF's place on a network, and its VM."""

    network: str        # uuid
    mac: str
    vm: str             # uuid
    name: str           # of the VM; anything may be in it


def write_names(names: Iterable[VifName]) -> None:
    """Write the names, if the file says something else."""
    put_file(rooted(FILE), '{"version": %d, "vifs": [\n%s\n]}\n' % (
        VERSION, ',\n'.join(json.dumps(name) for name in sorted(set(names)))), private=True)


def read_names() -> Mapping[Tuple[str, str], VifName]:
    """Return the names by network and MAC address; none if the file is not there or another's."""
    try:
        content = json.loads(read_file(rooted(FILE)) or '{}')
        found: Dict[Tuple[str, str], VifName] = {}
        if content.get('version') == VERSION:
            for words in content['vifs']:
                name = VifName(*map(str, words))
                found[name.network, name.mac] = name
        return found
    except (HostError, ValueError, KeyError, TypeError, AttributeError):
        return {}
