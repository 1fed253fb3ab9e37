"""A VM and its VIFs as XAPI's records tell of them, and what their policies are.

`VM.xenstore_data` is what the guest may have written: it is read by the same strict parser that
the hooks use.
"""
from typing import Any, Dict, Iterable, Mapping, NamedTuple, Optional, Tuple

from xsisolate.errors import PolicyError
from xsisolate.policy.address import parse_allowed
from xsisolate.policy.model import Identity, Locking, Mode, PoolNetwork, VifPolicy
from xsisolate.policy.seal import SEAL_KEY, Sealing, judge
from xsisolate.policy.vmdata_parser import ROOT, parse_vmdata, undo_migration

NOBODY = 'OpaqueRef:NULL'
VIF_FOLDER = 'vif/'
# In VM.other_config, a date for people: with an event on a VM XAPI tells xenopsd of its VIFs.
TOUCHED_KEY = 'xsisolate-changed'
NETWORK_DEFAULT, LOCKED, UNLOCKED, DISABLED = 'network_default', 'locked', 'unlocked', 'disabled'
LIVE = ('Running', 'Paused')        # power states in which there is a domain
MODES = {UNLOCKED: Mode.UNLOCKED, LOCKED: Mode.LOCKED, DISABLED: Mode.DISABLED}


class Call(NamedTuple):
    """A call to XAPI; the session comes before the arguments."""

    method: str
    args: Tuple[Any, ...]


class XapiVif(NamedTuple):
    """A VIF as XAPI knows it."""

    ref: str
    devid: str
    mac: str                            # lower case
    network: str                        # the network's uuid
    locking_mode: str                   # as set on the VIF
    default_locking: str                # as set on the network
    ipv4_allowed: Tuple[str, ...]
    ipv6_allowed: Tuple[str, ...]
    other_config: Mapping[str, str]
    attached: bool
    unprotected: str = ''               # why no flow can enforce its policy; '' if flows can

    @property
    def seal(self) -> Optional[str]:
        """The seal that the VIF carries."""
        return self.other_config.get(SEAL_KEY)

    @property
    def locking(self) -> Locking:
        """XAPI's own locking mode, as xenopsd will be told; raises PolicyError."""
        word = self.default_locking if self.locking_mode == NETWORK_DEFAULT else self.locking_mode
        if word != LOCKED:
            return Locking(MODES.get(word, Mode.DISABLED))
        return Locking(Mode.LOCKED, *(
            frozenset(parse_allowed(text, version) for text in texts)
            for version, texts in ((4, self.ipv4_allowed), (6, self.ipv6_allowed))))


class XapiVm(NamedTuple):
    """A VM as XAPI knows it."""

    ref: str
    uuid: str                           # lower case
    name: str
    power_state: str
    host: str                           # where it runs; '' if nowhere
    bound_for: str                      # where it is about to run
    data: Mapping[str, str]             # xenstore_data
    vifs: Tuple[XapiVif, ...] = ()      # in order of their device numbers
    is_template: bool = False           # or a snapshot: copies are made of it, and it never runs

    @property
    def is_live(self) -> bool:
        """Tell whether there is a domain that what is written must reach."""
        return self.power_state in LIVE


def make_vm(ref: str, record: Mapping[str, Any], vifs: Iterable[XapiVif] = ()) -> XapiVm:
    """Return a VM from its record."""
    return XapiVm(ref, str(record['uuid']).lower(), str(record['name_label']),
                  str(record['power_state']), _place(record, 'resident_on'),
                  _place(record, 'scheduled_to_be_resident_on'), dict(record['xenstore_data']),
                  tuple(sorted(vifs, key=lambda vif: (len(vif.devid), vif.devid))),
                  bool(record['is_a_template'] or record['is_a_snapshot']))


def _place(record: Mapping[str, Any], key: str) -> str:
    """Return the host that a record names, '' if none."""
    host = str(record.get(key) or NOBODY)
    return '' if host == NOBODY else host


def make_network(record: Mapping[str, Any]) -> PoolNetwork:
    """Return a network from its record."""
    return PoolNetwork(str(record['uuid']).lower(), str(record['bridge']),
                       str(record['name_label']))


def make_vif(ref: str, record: Mapping[str, Any], network: Mapping[str, Any],
             unprotected: str = '') -> XapiVif:
    """Return a VIF from its record and its network's."""
    return XapiVif(ref, str(record['device']), str(record['MAC']).lower(),
                   str(network['uuid']).lower(), str(record['locking_mode']),
                   str(network.get('default_locking_mode', UNLOCKED)),
                   tuple(record['ipv4_allowed']), tuple(record['ipv6_allowed']),
                   dict(record['other_config']), bool(record['currently_attached']), unprotected)


def identify(vm: XapiVm, vif: XapiVif) -> Identity:
    """Return what a VIF's seal is made for."""
    return Identity(vm.uuid, vif.devid, vif.mac)


def read_policy(vm: XapiVm, vif: XapiVif) -> Optional[VifPolicy]:
    """Return what vm-data says of a VIF, None if nothing; raise PolicyError if it is malformed."""
    common: Dict[str, bytes] = {}
    own: Dict[str, bytes] = {}
    for key, value in vm.data.items():
        if key.startswith(ROOT):
            _sort_in(key[len(ROOT):], value, vif.devid, common, own)
    return parse_vmdata(undo_migration(common, vm.uuid), undo_migration(own, vm.uuid), vif.devid)


def _sort_in(path: str, value: str, devid: str, common: Dict[str, bytes],
             own: Dict[str, bytes]) -> None:
    """Put a key below vm-data/xsisolate where the hooks would find it."""
    keys = common
    if path == VIF_FOLDER[:-1] or path.startswith(VIF_FOLDER):
        number, _, path = path[len(VIF_FOLDER):].partition('/')
        keys = own if number == devid else {}
    name, slash, _ = path.partition('/')
    if slash:       # a folder is a node, too, and without a value of its own it is empty
        keys.setdefault(name, b'')
    elif name:
        keys[name] = value.encode('utf-8', 'surrogateescape')


def judge_vif(vm: XapiVm, vif: XapiVif) -> Tuple[Sealing, Optional[VifPolicy], str]:
    """Return how a VIF's seal and policy go together, the policy, and why it is none."""
    try:
        policy = read_policy(vm, vif)
    except PolicyError as error:
        return (Sealing.CHANGED if vif.seal else Sealing.UNSEALED), None, str(error)
    return judge(identify(vm, vif), vif.seal, policy), policy, ''
