"""What xenstore and xenopsd would say of the self-test's domains, below a folder of its own.

The library reads both as it does on behalf of a hook; the host's own are neither read nor written.
"""
import json
import os
import shutil
from contextlib import contextmanager
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence

from xsisolate.config.host_config import Configuration
from xsisolate.config.load import parse_config
from xsisolate.dom0.linux.atomic_file import put_file
from xsisolate.dom0.ovs.trial_bridge import TRIAL_BRIDGE
from xsisolate.dom0.run_files.group_members import write_members
from xsisolate.dom0.xen.vif_metadata import FOLDER as METADATA
from xsisolate.dom0.xen.xenstore import DIRECTORY, Xenstore
from xsisolate.errors import PolicyError
from xsisolate.paths import rooted
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.model import RemoteMember
from xsisolate.policy.seal import SEAL_KEY, make_seal
from xsisolate.policy.vmdata_parser import parse_vmdata
from xsisolate.selftest.parties import (CONFIGURATION, EVERYBODY, NETWORK_UUID, REMOTE, UUID, Party)

ROOT = 'XSISOLATE_ROOT'
FOLDER = '/run/xsisolate/selftest'
NO_SEAL = '1:' + '0' * 64           # of a policy that cannot be understood


class PlayedXenstore(Xenstore):
    """Answers for a xenstored that has the self-test's domains and no others."""

    def __init__(self, parties: Iterable[Party]) -> None:
        self._nodes: Dict[str, str] = {}
        for party in parties:
            self.set_policy(party)

    def set_policy(self, party: Party) -> None:
        """Have a party's domain, and its policy in vm-data."""
        assert party.vif
        domain, vm = '/local/domain/%d' % party.vif.domid, '/vm/' + party.vm_uuid
        root = '%s/vm-data/xsisolate/vif/%d/' % (domain, party.vif.devid)
        for path in [path for path in self._nodes if path.startswith(root)]:
            del self._nodes[path]
        self._nodes.update({domain + '/vm': vm, vm + '/uuid': party.vm_uuid})
        self._nodes.update((root + key, value) for key, value in party.vm_data.items())

    def close(self) -> None:
        """Hang up: there is nothing to hang up on."""

    def _ask(self, kind: int, paths: Sequence[str],
             value: Optional[bytes] = None) -> List[Optional[bytes]]:
        return [self._list(path) if kind == DIRECTORY else self._read(path) for path in paths]

    def _read(self, path: str) -> Optional[bytes]:
        return self._nodes[path].encode() if path in self._nodes else None

    def _list(self, path: str) -> Optional[bytes]:
        names = sorted({other[len(path) + 1:].split('/')[0] for other in self._nodes
                        if other.startswith(path + '/')})
        return ''.join(name + '\0' for name in names).encode() if names else None


@contextmanager
def own_root() -> Iterator[None]:
    """Have files of Dom0 below a folder of our own, which is removed at the end."""
    before = os.environ.get(ROOT)
    folder = rooted(FOLDER)
    remove_root()
    os.environ[ROOT] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ[ROOT]
        else:
            os.environ[ROOT] = before
        remove_root()


def remove_root() -> None:
    """Remove the folder that a run has, or has left behind."""
    shutil.rmtree(rooted(FOLDER), ignore_errors=True)


def read_configuration() -> Configuration:
    """Return the self-test's configuration."""
    return Configuration(parse_config(CONFIGURATION, 'selftest'))


def write_metadata(party: Party) -> None:
    """Write what xenopsd would know of a party's VIF, with the seal of its policy."""
    assert party.vif
    seal = {} if party.policy is None else {SEAL_KEY: _seal(party)}
    put_file(rooted('%s/%s/vif.%d' % (METADATA, party.vm_uuid, party.vif.devid)), json.dumps({
        'mac': party.mac, 'backend': ['Local', TRIAL_BRIDGE], 'locking_mode': 'Unlocked',
        'other_config': seal, 'extra_private_keys': {
            'vif-uuid': UUID % (0x100 + party.number), 'network-uuid': NETWORK_UUID}}))


def _seal(party: Party) -> str:
    try:
        policy = parse_vmdata({}, _encoded(party.vm_data), party.identity.devid)
    except PolicyError:
        return NO_SEAL
    assert policy
    return make_seal(party.identity, policy)


def _encoded(keys: Mapping[str, str]) -> Dict[str, bytes]:
    return {key: value.encode() for key, value in keys.items()}


def write_remote_members() -> None:
    """Write the members of groups on other hosts, as the daemon does."""
    write_members({group: [_member(EVERYBODY[name])] for group, name in REMOTE.items()})


def _member(party: Party) -> RemoteMember:
    return RemoteMember(NETWORK_UUID, party.mac, frozenset(map(parse_prefix, (
        party.ipv4, party.ipv6, party.link_local))))
