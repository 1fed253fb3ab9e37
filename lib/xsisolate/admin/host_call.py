"""Calls to the plugin of a host: admin's end; xapi_plugin/ is the other."""
import json
from typing import Any, List, Mapping

from xsisolate.admin.host_overview import REFUSED
from xsisolate.admin.plugin_protocol import (GROUPS, NOT_HERE, NOW_ADMITTED, PLUGIN, REFRESH,
                                             AppliedVif, parse_reply)
from xsisolate.admin.steps import Seals
from xsisolate.dom0.xapi.session import Xapi, XapiError
from xsisolate.errors import HostError
from xsisolate.policy.vmdata_writer import natural
from xsisolate.policy.xapi_records import XapiVm

REFRESH_WAIT_S = 15         # how long a host waits until xenopsd has been told


def ask_host(xapi: Xapi, vm: XapiVm, seals: Seals) -> List[AppliedVif]:
    """Have the host where a VM runs apply what was written; return what each VIF does now.

    A VM that moves meanwhile is followed once. The host's end is xapi_plugin/apply_now.py.
    """
    arguments = {'vm': vm.uuid, 'seals': json.dumps(seals, sort_keys=True),
                 'wait': str(REFRESH_WAIT_S)}
    try:
        return _ask_resident(xapi, vm, arguments)
    except XapiError as error:
        if error.code != NOT_HERE:
            raise
    return _ask_resident(xapi, vm, arguments)


def _ask_resident(xapi: Xapi, vm: XapiVm, arguments: object) -> List[AppliedVif]:
    host = xapi.call('VM.get_resident_on', vm.ref)
    reply = xapi.call('host.call_plugin', host, PLUGIN, REFRESH, arguments)
    try:
        return sorted(parse_reply(json.loads(reply)), key=lambda vif: natural(vif.device))
    except (ValueError, TypeError) as error:
        raise HostError('host %s: the answer of its plugin cannot be read: %s'
                        % (host, error)) from error


def ask_refused(xapi: Xapi, vm: XapiVm) -> List[Mapping[str, Any]]:
    """Return the rows of the record, on the host where a VM runs, that a VIF's policy refuses."""
    host = xapi.call('VM.get_resident_on', vm.ref)
    reply = xapi.call('host.call_plugin', host, PLUGIN, REFUSED, {'vm': vm.uuid})
    try:
        return parse_owned(json.loads(reply))
    except (ValueError, TypeError) as error:
        raise HostError('host %s: the answer of its plugin cannot be read: %s'
                        % (host, error)) from error


def parse_owned(reply: Any) -> List[Mapping[str, Any]]:
    """Return the rows of a record that passed permissive policies; raise ValueError or TypeError.

    A host that does not say whether a row has passed is believed to mean that. What policies admit
    by now is left out.
    """
    try:
        return [row for row in reply['refused']
                if row['vif'] and row['vm'] and int(row['frames']) and row.get('passed', True)
                and row.get('because') != NOW_ADMITTED]
    except KeyError as error:
        raise ValueError('it lacks %s' % error) from None


def check_hosts(xapi: Xapi) -> None:
    """Raise HostError unless xsisolate answers on every host: a VM may start on any of them."""
    silent = []
    for ref, record in sorted(xapi.call('host.get_all_records').items(),
                              key=lambda item: str(item[1]['name_label'])):
        try:
            xapi.call('host.call_plugin', ref, PLUGIN, GROUPS, {})
        except XapiError as error:
            silent.append('%s: %s' % (ascii(str(record['name_label']))[1:-1], error))
    if silent:
        raise HostError('without XAPI\'s locking only xsisolate keeps VIFs locked, and it does not '
                        'answer on every host: %s. Nothing was written' % '; '.join(silent))
