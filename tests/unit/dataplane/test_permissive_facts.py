"""What a guest writes that is no policy: it closes its own VIF, but on a permissive network."""
import pytest

from xsisolate.config.host_config import Configuration
from xsisolate.dataplane.vif_facts import read_facts_of
from xsisolate.dom0.xen.vif_metadata import VifMetadata
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.model import Config, Group, Identity, Locking, Mode, Network, VifPolicy
from xsisolate.policy.permissive import beneath
from xsisolate.policy.seal import SEAL_KEY, make_seal
from xsisolate.vif_id import VifId

VM, MAC, BRIDGE = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77', '02:00:00:00:00:0b', 'xenbr0'
VIF, ROOT = Identity(VM, '0', MAC), '/local/domain/5/vm-data/xsisolate'
LOCKED = Locking(Mode.LOCKED, frozenset([parse_prefix('10.0.0.7')]))
LOOSE = Config(networks={BRIDGE: Network(permissive=True)})
MALFORMED = {'groups': b'red', 'colour': b'blue'}


class Store:
    """A xenstore in which one VM has written its vm-data."""

    def __init__(self, keys):
        self._keys = keys

    def read_named(self, path, names):
        return {}

    def directories(self, paths, limit):
        return [list(self._keys) if path == ROOT else None for path in paths]

    def read_folders(self, wanted):
        return [{key: self._keys[key] for key in keys} for _, keys in wanted]


def read(keys, config, seal=None, locking=LOCKED, error=''):
    """Return the policy of a VIF whose vm-data has these keys."""
    metadata = VifMetadata(VM, '0', MAC, BRIDGE, locking, '', '',
                           {SEAL_KEY: seal} if seal else {})
    return read_facts_of(Store(keys), VifId(5, 0), metadata, Configuration(config, error)).policy


@pytest.mark.parametrize('keys, said', [
    pytest.param(MALFORMED, "unknown key 'colour'", id='an unknown key'),
    pytest.param({'permissive': b'perhaps'}, "permissive: 'perhaps' is neither yes nor no",
                 id='neither yes nor no'),
    pytest.param({'groups': b'\xff'}, 'as byte 1: only printable ASCII', id='no text'),
    pytest.param({'groups': b'red'}, 'xsisolate-seal of device 0', id='not sealed'),
])
@pytest.mark.parametrize('locking', [Locking(), LOCKED])
def test_on_a_permissive_network_xapi_decides(keys, said, locking):
    found = read(keys, LOOSE, locking=locking)
    assert found._replace(would_be='') == beneath(MAC, locking)
    assert found.would_be.startswith('quarantined: ') and said in found.would_be
    assert read(keys, Config()).mode is Mode.QUARANTINED


def test_the_seal_of_an_enforced_policy_keeps_the_guest_from_spoiling_it():
    firm = make_seal(VIF, VifPolicy(groups=frozenset(['red']), permissive=False))
    loose = make_seal(VIF, VifPolicy(groups=frozenset(['red'])))
    assert read(MALFORMED, LOOSE, firm).mode is Mode.QUARANTINED
    assert read(MALFORMED, LOOSE, loose).mode is Mode.LOCKED


def test_the_guest_cannot_write_itself_permissive():
    found = read({'groups': b'red', 'permissive': b'yes'}, Config(),
                 make_seal(VIF, VifPolicy(groups=frozenset(['red']))))
    assert found.mode is Mode.QUARANTINED and found.unproven


def test_a_broken_file_is_not_permissive_by_what_it_said_last():
    found = read({}, LOOSE, error='xsisolate.yaml:3: is nonsense')
    assert found.mode is Mode.QUARANTINED and 'nonsense' in found.reason


def test_a_policy_that_says_no_stays_so_with_a_mistake_in_it():
    """Where no seal is looked at, that word counts, also of a policy that is refused later."""
    config = LOOSE._replace(accept_unsealed=True, groups={'red': Group(vms=frozenset())})
    assert read({'groups': b'red'}, config).would_be.startswith('quarantined: groups: red admits')
    found = read({'groups': b'red', 'permissive': b'no'}, config)
    assert found.mode is Mode.QUARANTINED and found.reason.startswith('groups: red admits')
