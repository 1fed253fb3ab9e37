"""What is written into XAPI of leases, and when: against a VIF that takes down each call."""
from typing import Any, Dict, List

import pytest

from xsisolate.dom0.run_files.vif_leases import write_leases
from xsisolate.dom0.xapi.session import XapiError
from xsisolate.errors import HostError
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.leases import (CARRIED_S, KEYS, Lease, LeaseRecord, find_carried,
                                     format_record)
from xsisolate.pool import lease_carrier
from xsisolate.pool.lease_carrier import Carrier, _write

MAC, VM = '02:00:00:00:00:0b', '00000000-0000-4000-9000-000000000011'
NOW = 1_000_000


def record(at: int, *addresses: str, until: int = NOW + 600) -> LeaseRecord:
    """Return leases."""
    return LeaseRecord(MAC, at, tuple(Lease(parse_prefix(one), until, '') for one in addresses),
                       'vif-uuid')


class Vif:
    """XAPI with one VIF and its VM."""

    def __init__(self) -> None:
        self.other_config: Dict[str, str] = {'xsisolate-seal': '1:x'}
        self.vm: Dict[str, str] = {}
        self.mac = MAC
        self.calls: List[str] = []
        self.valid: List[bool] = []         # after each call: does it carry anything?
        self.refusal = ''

    def call(self, method: str, *args: Any) -> Any:
        """Do what XAPI would."""
        self.calls.append(method)
        if self.refusal:
            raise XapiError(method, [self.refusal])
        target = self.vm if method.startswith('VM.') else self.other_config
        if method.endswith('remove_from_other_config'):
            target.pop(args[1], None)
        elif method.endswith('add_to_other_config'):
            if args[1] in target:
                raise XapiError(method, ['MAP_DUPLICATE_KEY'])
            target[args[1]] = args[2]
        self.valid.append(self.carried is not None)
        return {'VIF.get_by_uuid': 'ref', 'VIF.get_record': {
            'other_config': dict(self.other_config), 'MAC': self.mac.upper(),
            'VM': 'vm'}}.get(method)

    @property
    def carried(self) -> Any:
        """What the VIF carries."""
        return find_carried(self.other_config, MAC)

    @property
    def writes(self) -> int:
        """How often XAPI was written to."""
        return self.calls.count('VIF.add_to_other_config')


@pytest.fixture
def vif(monkeypatch: pytest.MonkeyPatch) -> Vif:
    """A VIF, and a clock that stands."""
    monkeypatch.setattr(lease_carrier, 'time', lambda: NOW)
    return Vif()


def test_it_is_never_without_once_it_has_some(vif: Vif) -> None:
    """Whichever keys there are: what a writer that was killed has left, too."""
    for at, addresses in enumerate((['10.9.0.1'], ['10.9.0.1', '10.9.0.2'], ['10.9.0.2'], []), 1):
        vif.valid.clear()
        assert _write(vif, record(at, *addresses))      # type: ignore
        assert vif.carried.at == at and (at == 1 or all(vif.valid))
        assert len(set(KEYS) & vif.other_config.keys()) == 1
        assert 'xsisolate-changed' in vif.vm and vif.other_config['xsisolate-seal'] == '1:x'
    for left in ({KEYS[0]: 5, KEYS[1]: 6}, {KEYS[0]: 6, KEYS[1]: 5}):
        vif.other_config.update({key: format_record(record(at, '10.9.0.1'))
                                 for key, at in left.items()})
        vif.valid.clear()
        assert _write(vif, record(7, '10.9.0.3')) and all(vif.valid)        # type: ignore
        assert vif.carried.at == 7 and len(set(KEYS) & vif.other_config.keys()) == 1


@pytest.mark.parametrize('change', [
    pytest.param({'mac': '02:00:00:00:00:99'}, id='another VIF has this uuid now'),
    pytest.param({'other_config': {KEYS[0]: format_record(record(9, '10.9.0.9'))}},
                 id='it has been on another host since'),
    pytest.param({'other_config': {KEYS[1]: format_record(record(
        1, '10.9.0.1', until=NOW + 600 - 300))}}, id='a renewal'),
])
def test_what_is_not_written(vif: Vif, change: Dict[str, Any]) -> None:
    for name, value in change.items():
        setattr(vif, name, value)
    assert not _write(vif, record(2, '10.9.0.1'))       # type: ignore
    assert vif.writes == 0


@pytest.fixture
def carrier(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, vif: Vif) -> Carrier:
    """A carrier on a host of its own, whose clock moves by hand."""
    monkeypatch.setenv('XSISOLATE_ROOT', str(tmp_path))
    monkeypatch.setattr(lease_carrier, 'sleep', lambda seconds: None)
    return Carrier(None)        # type: ignore


def test_one_vif_is_not_written_for_without_end(carrier: Carrier, vif: Vif,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that takes and gives back all day: 12 writes in the first quarter of an hour."""
    for second in range(900):
        monkeypatch.setattr(lease_carrier, 'monotonic', lambda: 1000.0 + second)
        write_leases(VM, '0', record(second + 1, *['10.9.0.1'] * (second % 2)))
        carrier._carry(vif, VM, '0')        # type: ignore
    assert 10 <= vif.writes <= 20, vif.writes
    monkeypatch.setattr(lease_carrier, 'monotonic', lambda: 3000.0)
    carrier._carry(vif, VM, '0')        # type: ignore
    assert [lease.address for lease in vif.carried.leases] == [parse_prefix('10.9.0.1')]


def test_a_vif_that_has_gone_is_left_alone_and_other_errors_end_the_session(
        carrier: Carrier, vif: Vif) -> None:
    write_leases(VM, '0', record(1, '10.9.0.1'))
    vif.refusal = 'UUID_INVALID'
    assert carrier._carry(vif, VM, '0') and carrier._carry(vif, VM, '0')    # type: ignore
    assert len(vif.calls) == 1
    write_leases(VM, '0', record(2, '10.9.0.1'))
    vif.refusal = 'SESSION_INVALID'
    with pytest.raises(HostError):
        carrier._carry(vif, VM, '0')        # type: ignore
    assert CARRIED_S
