"""xenopsd's metadata of a VIF: a JSON file, written before the hooks run.

OCaml's rpc library writes it: a constructor without argument is a string, one
with an argument is ["Name", argument]; an option that is None is left out.
Keys that decide nothing here are ignored, whatever they hold: every release adds some. Those that
are read must have the type they have always had.
"""
import json
import os
import re

from xsisolate.errors import MetadataError, PolicyError
from xsisolate.paths import rooted
from xsisolate.policy.address import parse_allowed, parse_mac
from xsisolate.policy.model import Locking, Mode, Prefix
from xsisolate.typing_compat import FrozenSet, List, Mapping, NamedTuple, NoReturn, Tuple
from xsisolate.vif_id import UUID

FOLDER = '/run/nonpersistent/xenopsd/classic/VM'
PREFIX = 'vif.'
SIZE_LIMIT = 1 << 20    # a VIF's metadata is 1 KB and grows with XAPI's address lists
DEVID = re.compile(r'[0-9]{1,5}')
BRIDGE = re.compile(r'[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,63}')
MODES = {'unlocked': Mode.UNLOCKED, 'disabled': Mode.DISABLED}


class VifMetadata(NamedTuple):
    """What xenopsd knows of a VIF."""

    vm_uuid: str                        # during a migration a temporary one
    devid: str
    mac: str                            # lower case, colons
    bridge: str                         # '' for a function of an SR-IOV NIC
    locking: Locking
    vif_uuid: str                       # '' if XAPI did not say
    network_uuid: str                   # likewise
    other_config: Mapping[str, str]


def read_metadata(vm_uuid: str, devid: str) -> VifMetadata:
    """Return a VIF's metadata; raise MetadataError if there is none that makes sense.

    A function of an SR-IOV NIC has no netdev in Dom0, so hooks have nothing to do with it.
    """
    metadata = read_any_metadata(vm_uuid, devid)
    if not metadata.bridge:
        raise MetadataError('VM %s device %s: %s: backend: Sriov: only Local networks are supported'
                            % (vm_uuid, devid, _path(vm_uuid, devid)))
    return metadata


def list_devids(vm_uuid: str) -> List[int]:
    """Return the device numbers of all VIFs that xenopsd has metadata of."""
    try:
        names = os.listdir(rooted('%s/%s' % (FOLDER, vm_uuid)))
    except OSError:
        return []
    return sorted(int(name[len(PREFIX):]) for name in names
                  if name.startswith(PREFIX) and DEVID.fullmatch(name[len(PREFIX):]))


def read_any_metadata(vm_uuid: str, devid: str) -> VifMetadata:
    """Return the same, also of a VIF that is a function of an SR-IOV NIC."""
    if not UUID.fullmatch(vm_uuid.lower()) or not DEVID.fullmatch(devid):
        raise MetadataError('not a VM uuid and a device number: %.60r, %.20r' % (vm_uuid, devid))
    path = _path(vm_uuid, devid)
    try:
        with open(path, 'rb') as file:
            text = file.read(SIZE_LIMIT + 1)
        if len(text) > SIZE_LIMIT:
            raise ValueError('larger than %d bytes' % SIZE_LIMIT)
        return _parse(vm_uuid, devid, json.loads(text.decode('utf-8')))
    except OSError as error:
        _refuse(vm_uuid, devid, path, str(error.strerror), error)
    except (ValueError, RecursionError, PolicyError) as error:
        _refuse(vm_uuid, devid, path, str(error), error)


def _path(vm_uuid: str, devid: str) -> str:
    return rooted('%s/%s/%s%s' % (FOLDER, vm_uuid, PREFIX, devid))


def _refuse(vm_uuid: str, devid: str, path: str, why: str, error: Exception) -> NoReturn:
    """Raise what every failure ends in: one line that names VM, device and file."""
    raise MetadataError('VM %s device %s: %s: %s' % (vm_uuid, devid, path, why)) from error


def _parse(vm_uuid: str, devid: str, vif: object) -> VifMetadata:
    """Return the metadata in a file's content; raise ValueError or PolicyError."""
    if not isinstance(vif, dict):
        raise ValueError('not a JSON object')
    extra_keys = _strings(vif, 'extra_private_keys')
    return VifMetadata(vm_uuid=vm_uuid, devid=devid,
                       mac=_parse_mac(vif.get('mac')),
                       bridge=_parse_backend(vif.get('backend')),
                       locking=_parse_locking(vif.get('locking_mode')),
                       vif_uuid=extra_keys.get('vif-uuid', ''),
                       network_uuid=extra_keys.get('network-uuid', ''),
                       other_config=_strings(vif, 'other_config'))


def _parse_mac(mac: object) -> str:
    """Return a unicast MAC in lower case."""
    if not isinstance(mac, str):
        raise ValueError('mac: %.40r' % (mac,))
    return parse_mac(mac)


def _parse_backend(backend: object) -> str:
    """Return the bridge's name, '' for an SR-IOV NIC; a driver domain's network is refused."""
    kind, argument = _constructor('backend', backend)
    if kind == 'sriov':
        return ''
    if kind != 'local':
        raise ValueError('backend: %s: only Local networks are supported' % kind.capitalize())
    if not isinstance(argument, str) or not BRIDGE.fullmatch(argument):
        raise ValueError('backend: not a bridge name: %.80r' % (argument,))
    return argument


def _parse_locking(locking: object) -> Locking:
    """Return XAPI's locking mode."""
    if isinstance(locking, str) and locking.lower() in MODES:
        return Locking(MODES[locking.lower()])
    kind, argument = _constructor('locking_mode', locking)
    if kind != 'locked' or not isinstance(argument, dict):
        raise ValueError('locking_mode: %.80r' % (locking,))
    return Locking(Mode.LOCKED, ipv4=_parse_addresses(argument, 'ipv4', 4),
                   ipv6=_parse_addresses(argument, 'ipv6', 6))


def _parse_addresses(lists: Mapping[str, object], key: str, version: int) -> FrozenSet[Prefix]:
    """Return one of XAPI's two address lists."""
    texts = lists.get(key)
    if not isinstance(texts, list):
        raise ValueError('locking_mode: %s: not a list' % key)
    return frozenset(_parse_address(text, version) for text in texts)


def _parse_address(text: object, version: int) -> Prefix:
    """Return one entry of such a list."""
    if not isinstance(text, str):
        raise ValueError('locking_mode: not an address: %.80r' % (text,))
    return parse_allowed(text, version)


def _constructor(key: str, value: object) -> Tuple[str, object]:
    """Return an OCaml constructor's name in lower case, and its argument."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return value[0].lower(), value[1]
    raise ValueError('%s: %.80r' % (key, value))


def _strings(vif: Mapping[str, object], key: str) -> Mapping[str, str]:
    """Return a map of strings; a missing one is empty."""
    value = vif.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise ValueError('%s: not a map of strings' % key)
    return value
