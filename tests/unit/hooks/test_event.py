"""What the callers of the hooks say, in every shape that the stock hooks have had."""
import pytest

from xsisolate.errors import EXIT_USAGE, UsageError
from xsisolate.hooks.event import Event, parse_rules_call, parse_vif_call
from xsisolate.vif_id import VifId

UUID = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77'
PATH = {'XENBUS_PATH': 'backend/vif/5/1'}


def refusal(parse, *args):
    with pytest.raises(UsageError) as refused:
        parse(*args)
    text = str(refused.value)
    assert text.isprintable() and len(text) < 500 and refused.value.exit_code == EXIT_USAGE
    return text


@pytest.mark.parametrize('args, environ, event', [
    (['online', 'type_if=vif'], PATH, Event('online', 'vif', VifId(5, 1))),
    (['online', 'vif'], PATH, Event('online', 'vif', VifId(5, 1))),
    (['remove', 'type_if=vif'], PATH, Event('remove', 'vif', VifId(5, 1))),
    (['add', 'type_if=tap'], {'INTERFACE': 'tap5.1'}, Event('add', 'tap', VifId(5, 1))),
    (['remove', 'tap'], {'INTERFACE': 'tap12345.255'}, Event('remove', 'tap', VifId(12345, 255))),
    (['online', 'vif'], {'INTERFACE': 'vif0.0'}, Event('online', 'vif', VifId(0, 0))),
    (['move', 'type_if=vif', '5', '1'], {}, Event('move', 'vif', VifId(5, 1))),
    (['move', 'type_if=vif', '5', '1'], PATH, Event('move', 'vif', VifId(5, 1))),
    (['move', 'vif', '6', '0'], {'INTERFACE': 'eth0'}, Event('move', 'vif', VifId(6, 0))),
    (['move', 'vif', '6', '0', 'more'], {}, Event('move', 'vif', VifId(6, 0))),
    (['offline', 'vif'], {'XENBUS_PATH': '/local/domain/0/backend/vif/32751/7'},
     Event('offline', 'vif', VifId(32751, 7))),
    (['online', 'tap'], {'XENBUS_PATH': '', 'INTERFACE': 'tap1.2'},
     Event('online', 'tap', VifId(1, 2))),
])
def test_vif_call(args, environ, event):
    assert parse_vif_call(args, environ) == event


@pytest.mark.parametrize('args, environ', [
    ([], {}), (['online'], PATH), (['online', ''], PATH), (['online', 'type_if='], PATH),
    (['online', 'type_if=eth'], PATH), (['online', 'VIF'], PATH),
    (['online', 'vif'], {}), (['online', 'vif'], {'INTERFACE': 'tap5.1'}),
    (['online', 'vif'], {'INTERFACE': 'vif5.1x'}), (['online', 'vif'], {'INTERFACE': 'vif5'}),
    (['online', 'vif'], {'INTERFACE': 'vif5.1\n'}),
    (['online', 'vif'], {'XENBUS_PATH': 'backend/vbd/5/1'}),
    (['online', 'vif'], {'XENBUS_PATH': 'backend/vif/5/1/mac'}),
    (['online', 'vif'], {'XENBUS_PATH': 'backend/vif/32752/0'}),
    (['online', 'vif'], {'XENBUS_PATH': 'backend/vif/5/256'}),
    (['move', 'vif', '5'], {}), (['move', 'vif', '-5', '1'], {}), (['move', 'vif', '5', ''], {}),
    (['online', 'vif'], {'INTERFACE': 'vif05.1'}), (['move', 'vif', '5', '01'], {}),
    (['move', 'vif', 'five', '1'], {}), (['move', 'vif', '5', '1;reboot'], {}),
    (['move', 'vif', '\u0665', '1'], {}), (['move', 'vif', '\u00b2', '1'], {}),
    (['move', 'vif', '9' * 5000, '1'], {}), (['move\n', 'vif', 'x' * 5000, '1'], {}),
])
def test_wrong_vif_call(args, environ):
    refusal(parse_vif_call, args, environ)


@pytest.mark.parametrize('args, event', [
    (['classic', 'vif5.1', UUID, '1', 'filter'],
     Event('filter', 'vif', VifId(5, 1), UUID, 'classic')),
    (['classic', 'tap5.1', UUID.upper(), '1', 'clear'],
     Event('clear', 'tap', VifId(5, 1), UUID, 'classic')),
    (['qemu', 'vif5.1', UUID, '1', 'clear'], Event('clear', 'vif', VifId(5, 1), UUID, 'qemu')),
    (['classic', 'vif', '5', '1', 'filter'], Event('filter', 'vif', VifId(5, 1), '', 'classic')),
    (['xenlight', 'tap', '5', '1', 'clear'], Event('clear', 'tap', VifId(5, 1), '', 'xenlight')),
    (['vif', '5', '1', 'filter'], Event('filter', 'vif', VifId(5, 1))),
    (['tap', '5', '1', 'clear'], Event('clear', 'tap', VifId(5, 1))),
    (['vif', '5', '1', 'locked', 'filter'], Event('filter', 'vif', VifId(5, 1))),
])
def test_rules_call(args, event):
    assert parse_rules_call(args) == event


@pytest.mark.parametrize('args', [
    [], ['classic'], ['classic', 'vif5.1', UUID, '1'],
    ['classic', 'vif5.1', UUID, '1', 'filter', 'more'],
    ['classic', 'vif5.1', UUID, '2', 'filter'],         # another device than the netdev's
    ['classic', 'vif5.1', UUID, '01', 'filter'],
    ['classic', 'vif5.1', UUID[:-1], '1', 'filter'],
    ['classic', 'vif5.1', '', '1', 'filter'],
    ['classic', 'vif5.1', UUID + '/..', '1', 'filter'],
    ['classic', 'eth0', UUID, '0', 'filter'],
    ['classic', 'vif5.1', UUID, '1', 'online'],
    ['classic', 'vif5.1', UUID, '1', 'FILTER'],
    ['classic', 'vif40000.1', UUID, '1', 'filter'],
    ['vif', '5', 'filter'], ['vif', '5', '1', 'locked', 'unlocked', 'filter'],
    ['vif', 'x', '1', 'filter'], ['vif', '5', '300', 'filter'], ['vif', '5', '1', ''],
    ['\n' * 9, 'vif5.1', 'x' * 100000, '1', 'filter'],
])
def test_wrong_rules_call(args):
    refusal(parse_rules_call, args)


@pytest.mark.parametrize('event, name', [
    (Event('add', 'tap', VifId(5, 1)), 'tap5.1'), (Event('add', 'vif', VifId(0, 0)), 'vif0.0')])
def test_device(event, name):
    assert event.device == name
