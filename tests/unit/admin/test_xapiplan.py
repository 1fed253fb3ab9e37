"""Plans of calls to XAPI: order, undo, and what is refused before anything is called."""
import json
from typing import Any, Dict, List

import pytest

from xsisolate.admin.locking import plan_relocation, read_note, release_locking, restore_locking
from xsisolate.admin.policy_change import plan_policies, plan_seals
from xsisolate.errors import PolicyError
from xsisolate.policy.model import Mode, Prefix, VifPolicy
from xsisolate.policy.seal import make_seal
from xsisolate.policy.vmdata_writer import replace_policy
from xsisolate.policy.xapi_records import Call, XapiVif, XapiVm, identify, judge_vif

UUID = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77'
RED = VifPolicy(groups=frozenset({'red'}))
OWN = frozenset({Prefix(4, 0x0a000001, 32)})


def vif(number: int = 0, **fields: Any) -> XapiVif:
    """Return a VIF."""
    return XapiVif('vif%d' % number, str(number), '02:00:00:00:00:0%d' % number, 'net',
                   'network_default', 'unlocked', (), (), {}, True)._replace(**fields)


def vm(*vifs: XapiVif, data: Dict[str, str] = {}, state: str = 'Running') -> XapiVm:   # noqa: B006
    """Return a VM."""
    return XapiVm('vm', UUID, 'web', state, 'host', '', data, vifs)


def carry_out(machine: XapiVm, calls: List[Call]) -> XapiVm:
    """Return a VM after these calls, as XAPI makes them."""
    for method, args in calls:
        if method == 'VM.set_xenstore_data':
            machine = machine._replace(data=args[1])
        if not method.startswith('VIF.'):
            continue
        found = []
        for one in machine.vifs:
            config = dict(one.other_config)
            if one.ref == args[0] and method == 'VIF.remove_from_other_config':
                config.pop(args[1], None)
            elif one.ref == args[0] and method == 'VIF.add_to_other_config':
                assert args[1] not in config
                config[args[1]] = args[2]
            elif one.ref == args[0]:
                value = args[1] if isinstance(args[1], str) else tuple(args[1])
                one = one._replace(**{method[len('VIF.set_'):]: value})
            found.append(one._replace(other_config=config))
        machine = machine._replace(vifs=tuple(found))
    return machine


@pytest.mark.parametrize('before, after', [
    ({}, {'0': RED, '1': None}), ({}, {'0': RED, '1': VifPolicy(mode=Mode.DISABLED)}),
    ({'0': RED, '1': RED}, {'0': None, '1': None}),
    ({'0': RED, '1': RED}, {'0': VifPolicy(ipv4=OWN), '1': RED})])
def test_done_and_undone(before: Any, after: Any) -> None:
    """After the plan each VIF is sealed, or has neither; undone, in reverse, all is as before."""
    machine = vm(vif(0), vif(1))
    if before:
        machine = carry_out(machine, [call for step in plan_policies(machine, before, 'now').steps
                                      for call in step.calls])
    steps = plan_policies(machine, after, 'now').steps
    done = carry_out(machine, [call for step in steps for call in step.calls])
    for one in done.vifs:
        state, policy, error = judge_vif(done, one)
        assert state.name == ('SEALED' if after[one.devid] else 'NONE'), error
        assert policy == after[one.devid]
    for number in range(len(steps) + 1):        # wherever it is cut off, and be it once more
        half = carry_out(machine, [call for step in steps[:number] for call in step.calls])
        undo = [call for step in reversed(steps[:number]) for call in step.undo]
        assert carry_out(carry_out(half, undo), undo) == machine
    assert not plan_policies(done, after, 'now').steps


def test_seals_before_vm_data_before_the_event() -> None:
    steps = plan_policies(vm(vif(0), vif(1)), {'0': RED, '1': RED}, 'now').steps
    methods = [call.method for step in steps for call in step.calls]
    assert methods == ['VIF.remove_from_other_config', 'VIF.add_to_other_config'] * 2 + [
        'VM.set_xenstore_data', 'VM.remove_from_other_config', 'VM.add_to_other_config']
    halted = plan_policies(vm(vif(), state='Halted'), {'0': RED}, 'now').steps
    assert halted[-1].calls[0].method == 'VM.set_xenstore_data'
    assert 'seal 1:' in steps[0].what and 'was none' in steps[0].what
    assert '+xsisolate/groups' in steps[2].what


def test_a_seal_is_computed_once(monkeypatch: Any) -> None:
    """What is written, checked and shown later are the values of one plan."""
    made: List[str] = []

    def count(identity: Any, policy: VifPolicy, portable: bool = False) -> str:
        made.append(identity.devid)
        return make_seal(identity, policy, portable)
    for module in ('admin.policy_change', 'policy.seal'):
        monkeypatch.setattr('xsisolate.%s.make_seal' % module, count)
    machine = vm(vif(0), vif(1))
    change = plan_policies(machine, {'0': RED, '1': None}, 'now')
    assert change.write_again(machine, 'now') and change.mute == ['0'] and made == ['0']


def test_force_writes_once_more() -> None:
    machine = vm(vif(), data={'vm-data/xsisolate/groups': 'red', 'vm-data/x': 'y'})
    sealed = machine._replace(vifs=(vif(other_config={
        'xsisolate-seal': make_seal(identify(machine, machine.vifs[0]), RED)}),))
    change = plan_seals(sealed, {'0': RED}, 'now')
    assert not change.steps
    steps = change.write_again(sealed, 'now')
    assert steps[0].calls == (Call('VM.set_xenstore_data', ('vm', dict(machine.data))),)
    assert not change.write_again(sealed._replace(power_state='Halted'), 'now')


@pytest.mark.parametrize('fields, policy', [
    ({'locking_mode': 'locked', 'ipv4_allowed': ('10.0.0.2',)}, VifPolicy(ipv4=OWN)),
    ({'locking_mode': 'locked', 'ipv4_allowed': ('nonsense',)}, RED)])
def test_what_the_host_would_refuse(fields: Any, policy: VifPolicy) -> None:
    with pytest.raises(PolicyError, match=UUID):
        plan_policies(vm(vif(**fields)), {'0': policy}, 'now')


# --- relocation ------------------------------------------------------------------------------

LOCKED: Dict[str, Any] = {'locking_mode': 'locked', 'ipv4_allowed': ('10.0.0.1', '10.1.2.3/16'),
                          'ipv6_allowed': ('FD00::1',)}


@pytest.mark.parametrize('fields, before, words', [
    (LOCKED, None, {'mode': 'locked', 'vif/0/ipv4': '10.0.0.1 10.1.0.0/16',
                    'vif/0/ipv6': 'fd00::1'}),
    (LOCKED, VifPolicy(groups=frozenset({'red'}), ipv4=OWN),
     {'mode': 'isolated', 'groups': 'red', 'vif/0/ipv4': '10.0.0.1', 'vif/0/ipv6': 'fd00::1'}),
    (LOCKED, VifPolicy(mode=Mode.UNLOCKED), {'mode': 'locked', 'vif/0/ipv4': '10.0.0.1 10.1.0.0/16',
                                             'vif/0/ipv6': 'fd00::1'}),
    (LOCKED, VifPolicy(groups=frozenset({'red'}), ipv4=OWN, shared=frozenset({
        Prefix(4, 0x0a010009, 32)})),
     {'mode': 'isolated', 'groups': 'red', 'vif/0/ipv4': '10.0.0.1', 'vif/0/ipv6': 'fd00::1',
      'vif/0/shared': '10.1.0.9'}),
    ({'locking_mode': 'locked'}, None, {'mode': 'locked', 'vif/0/ipv4': ',', 'vif/0/ipv6': ','}),
    ({'locking_mode': 'disabled', 'ipv4_allowed': ('10.0.0.1',)}, RED,
     {'mode': 'disabled', 'groups': 'red'})])
def test_locking_moves_into_vm_data(fields: Any, before: Any, words: Any) -> None:
    machine = vm(vif(**fields), data=replace_policy({}, {'0': before}))
    change = plan_relocation(machine, {'0': before}, 'now')
    done = carry_out(machine, [call for step in change.steps for call in step.calls])
    assert done.data == {'vm-data/xsisolate/' + key: value for key, value in words.items()}
    assert done.vifs[0].locking_mode == fields['locking_mode']     # still there
    note = read_note(done, done.vifs[0])
    assert note and note['locking_mode'] == fields['locking_mode']
    freed = carry_out(done, [call for step in release_locking(done.vifs) for call in step.calls])
    assert freed.vifs[0][4:8] == ('unlocked', 'unlocked', (), ())
    assert judge_vif(freed, freed.vifs[0])[1] == change.policies['0']
    back = carry_out(freed, list(restore_locking(freed.vifs[0], note).calls))
    assert back.vifs[0][4:8] == machine.vifs[0][4:8]


def test_a_lock_is_never_wider_than_before_and_after() -> None:
    """When it comes, the lists are there first; when it goes, it goes as a whole."""
    step = next(release_locking([vif(**LOCKED)]))
    assert [call.method for call in step.calls] == [
        'VIF.set_locking_mode', 'VIF.set_ipv4_allowed', 'VIF.set_ipv6_allowed']
    assert [call.method for call in step.undo] == [
        'VIF.set_ipv4_allowed', 'VIF.set_ipv6_allowed', 'VIF.set_locking_mode']


@pytest.mark.parametrize('text', ['', 'null', '3', '"x"', '{"version": 1}', json.dumps(
    {'version': 1, 'locking_mode': 'locked', 'ipv4_allowed': 4, 'ipv6_allowed': [], 'before': None,
     'after': {}})])
def test_a_note_that_makes_no_sense(text: str) -> None:
    with pytest.raises(PolicyError, match='by hand'):
        read_note(vm(vif()), vif(other_config={'xsisolate-relocated': text}))
