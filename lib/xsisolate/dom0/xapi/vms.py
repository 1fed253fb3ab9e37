"""The VMs that an admin's words may mean."""
from typing import Any, List, Mapping

from xsisolate.dom0.xapi.session import Xapi, XapiError
from xsisolate.vif_id import UUID


def find_vms(xapi: Xapi, text: str) -> List[str]:
    """Return the VMs of this uuid or name; by name neither templates nor snapshots."""
    if UUID.fullmatch(text.lower()):
        try:
            return [str(xapi.call('VM.get_by_uuid', text.lower()))]
        except XapiError as error:
            if error.code != 'UUID_INVALID':
                raise
    return [ref for ref in xapi.call('VM.get_by_name_label', text)
            if is_vm(xapi.call('VM.get_record', ref))]


def is_vm(record: Mapping[str, Any]) -> bool:
    """Tell whether a record of class VM is what people call a VM."""
    return not any(record[key] for key in ('is_a_template', 'is_a_snapshot', 'is_control_domain'))
