"""The calls to XAPI that the product may make: parameters after the session, and the least role.

The fake pool refuses any other. tests/system/xapi checks the list against XAPI's own datamodel
where that is at hand.
"""
from typing import Any, Mapping, NamedTuple, Tuple

ROLES = ('read-only', 'vm-operator', 'vm-admin', 'vm-power-admin', 'pool-operator', 'pool-admin')
READER, VM_ADMIN, OPERATOR, ADMIN = 'read-only', 'vm-admin', 'pool-operator', 'pool-admin'
POWER = 'vm-power-admin'
STRING, STRINGS, MAP, NUMBER = 'string', 'string set', '(string -> string) map', 'float'
SHIPMENT = ('VM ref', MAP, 'bool', '(VDI ref -> SR ref) map', '(VIF ref -> network ref) map', MAP,
            '(VGPU ref -> GPU_group ref) map')


class CallType(NamedTuple):
    """A message of XAPI's."""

    role: str                           # the least one that may send it
    params: Tuple[str, ...] = ()        # as XAPI's datamodel writes types, the session left out


CALLS: Mapping[str, CallType] = {
    'session.logout': CallType(READER),
    'VM.get_by_uuid': CallType(READER, (STRING,)),
    'VM.get_by_name_label': CallType(READER, (STRING,)),
    'VM.get_record': CallType(READER, ('VM ref',)),
    'VM.get_uuid': CallType(READER, ('VM ref',)),
    'VM.get_resident_on': CallType(READER, ('VM ref',)),
    'VM.get_all_records': CallType(READER),
    'VIF.get_by_uuid': CallType(READER, (STRING,)),
    'VIF.get_record': CallType(READER, ('VIF ref',)),
    'VIF.get_all_records': CallType(READER),
    'network.get_record': CallType(READER, ('network ref',)),
    'network.get_all_records': CallType(READER),
    'PIF.get_all_records': CallType(READER),
    'VLAN.get_all_records': CallType(READER),
    'host.get_all_records': CallType(READER),
    'VM.set_xenstore_data': CallType(VM_ADMIN, ('VM ref', MAP)),
    'VM.add_to_other_config': CallType(VM_ADMIN, ('VM ref', STRING, STRING)),
    'VM.remove_from_other_config': CallType(VM_ADMIN, ('VM ref', STRING)),
    'VIF.add_to_other_config': CallType(VM_ADMIN, ('VIF ref', STRING, STRING)),
    'VIF.remove_from_other_config': CallType(VM_ADMIN, ('VIF ref', STRING)),
    'PIF.add_to_other_config': CallType(OPERATOR, ('PIF ref', STRING, STRING)),
    'PIF.remove_from_other_config': CallType(OPERATOR, ('PIF ref', STRING)),
    'VIF.set_locking_mode': CallType(OPERATOR, ('VIF ref', 'enum vif_locking_mode')),
    'VIF.set_ipv4_allowed': CallType(OPERATOR, ('VIF ref', STRINGS)),
    'VIF.set_ipv6_allowed': CallType(OPERATOR, ('VIF ref', STRINGS)),
    'host.call_plugin': CallType(ADMIN, ('host ref', STRING, STRING, MAP)),
    'host.disable': CallType(OPERATOR, ('host ref',)),
    'host.enable': CallType(OPERATOR, ('host ref',)),
    'host.add_to_other_config': CallType(OPERATOR, ('host ref', STRING, STRING)),
    'host.remove_from_other_config': CallType(OPERATOR, ('host ref', STRING)),
    'message.create': CallType(OPERATOR, (STRING, 'int', 'enum cls', STRING, STRING)),
    'host.restart_agent': CallType(OPERATOR, ('host ref',)),
    'event.from': CallType(READER, (STRINGS, STRING, NUMBER)),
    'pool.get_all_records': CallType(READER),
    'pool.add_to_other_config': CallType(OPERATOR, ('pool ref', STRING, STRING)),
    'pool.remove_from_other_config': CallType(OPERATOR, ('pool ref', STRING)),
    # migratevm's
    'SR.get_all_records': CallType(READER),
    'SR.get_record': CallType(READER, ('SR ref',)),
    'PBD.get_record': CallType(READER, ('PBD ref',)),
    'VBD.get_record': CallType(READER, ('VBD ref',)),
    'VDI.get_record': CallType(READER, ('VDI ref',)),
    'VDI.destroy': CallType(VM_ADMIN, ('VDI ref',)),
    'VM.destroy': CallType(VM_ADMIN, ('VM ref',)),
    'VM.set_name_label': CallType(VM_ADMIN, ('VM ref', STRING)),
    'VM.set_is_a_template': CallType(VM_ADMIN, ('VM ref', 'bool')),
    'VM.assert_can_migrate': CallType(POWER, SHIPMENT),
    'Async.VM.migrate_send': CallType(POWER, SHIPMENT),
    'Async.VM.snapshot': CallType(POWER, ('VM ref', STRING, 'VDI ref set')),
    'host.migrate_receive': CallType(POWER, ('host ref', 'network ref', MAP)),
    'task.create': CallType(READER, (STRING, STRING)),
    'task.get_record': CallType(READER, ('task ref',)),
    'task.cancel': CallType(READER, ('task ref',)),
    'task.destroy': CallType(READER, ('task ref',)),
}
# What other clients send, and the product does not.
OTHERS: Mapping[str, CallType] = {
    'event.inject': CallType(READER, (STRING, STRING)),
    'VM.clone': CallType(VM_ADMIN, ('VM ref', STRING)),
    'VM.copy': CallType(VM_ADMIN, ('VM ref', STRING, 'SR ref')),
    'VM.provision': CallType(VM_ADMIN, ('VM ref',)),
    'VM.snapshot': CallType(POWER, ('VM ref', STRING, 'VDI ref set')),
    'VIF.create': CallType(VM_ADMIN, ('VIF record',)),
    'VIF.destroy': CallType(VM_ADMIN, ('VIF ref',)),
    'SR.get_uuid': CallType(READER, ('SR ref',)),
    **{kind + '.get_record': CallType(READER, (kind + ' ref',))
       for kind in ('pool', 'host', 'PIF')},
    **{kind + '.get_all_records': CallType(READER) for kind in ('VBD', 'VDI', 'PBD', 'task')},
}
# session.login_with_password comes before there is a session
LOGIN, LOGIN_PARAMS = 'session.login_with_password', (STRING, STRING, STRING, STRING)


def fits(kind: str, value: Any) -> bool:
    """Tell whether a value is of one of these types, as XML-RPC carries it."""
    if kind == 'bool':
        return isinstance(value, bool)
    if kind.endswith(' set'):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind.endswith(' record'):
        return isinstance(value, dict)
    if kind.endswith(' map'):
        return isinstance(value, dict) and all(
            isinstance(item, str) for pair in value.items() for item in pair)
    if kind == NUMBER:
        return isinstance(value, float)
    return isinstance(value, str)


def may(role: str, call: CallType) -> bool:
    """Tell whether a role may send a message."""
    return ROLES.index(role) >= ROLES.index(call.role)
