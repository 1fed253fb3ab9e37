"""The VMs that an admin's words may mean."""
from typing import Any, List, Mapping

from xsisolate.dom0.xapi.session import Xapi, XapiError
from xsisolate.vif_id import UUID


def find_vms(xapi: Xapi, text: str, templates: bool = False) -> List[str]:
    """Return the VMs of this uuid or name, or the templates and snapshots; a uuid may be either."""
    if UUID.fullmatch(text.lower()):
        try:
            return [str(xapi.call('VM.get_by_uuid', text.lower()))]
        except XapiError as error:
            if error.code != 'UUID_INVALID':
                raise
    wanted = is_template if templates else is_vm
    return [ref for ref in xapi.call('VM.get_by_name_label', text)
            if wanted(xapi.call('VM.get_record', ref))]


def is_vm(record: Mapping[str, Any]) -> bool:
    """Tell whether a record of class VM is what people call a VM."""
    return not any(record[key] for key in ('is_a_template', 'is_a_snapshot', 'is_control_domain'))


def is_template(record: Mapping[str, Any]) -> bool:
    """Tell whether it is a template or a snapshot, of which copies are made."""
    return bool(record['is_a_template'] or record['is_a_snapshot'])
