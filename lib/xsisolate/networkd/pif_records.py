"""Have XAPI's records of this host's PIFs say what its bridges are set to: see desired.py."""
import os
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple

from xsisolate.dom0.ovs.ovsdb import Bridge, Ovsdb
from xsisolate.dom0.ovs.ovsdb_rows import IN_BAND_KEY
from xsisolate.dom0.xapi.host_uuid import read_host_uuid
from xsisolate.dom0.xapi.session import Xapi, connect
from xsisolate.dom0.xapi.transport import SOCKET
from xsisolate.errors import HostError, PolicyError
from xsisolate.networkd.desired import (TOLD, Pif, find_pifs, missing_keys, plan_notes, plan_record,
                                        read_note)


class Outcome(NamedTuple):
    """What networkd was told."""

    changed: List[str]                  # bridges whose record was changed
    renoted: List[str]                  # ... and whose external_ids were corrected
    missing: Dict[str, List[str]]       # keys that networkd still does not know, by bridge
    error: str = ''                     # why


def read_pifs(xapi: Xapi) -> List[Pif]:
    """Return this host's PIFs with real bridges."""
    uuid = read_host_uuid()
    hosts = xapi.call('host.get_all_records')
    here = next((ref for ref, host in hosts.items() if str(host['uuid']).lower() == uuid), '')
    if not here:
        raise HostError('the pool does not know this host (%s)' % uuid)
    return find_pifs(xapi.call('PIF.get_all_records'), xapi.call('network.get_all_records'), here)


def tell(xapi: Xapi, pifs: List[Pif], ovsdb: Ovsdb) -> Outcome:
    """Bring the records up to date; a record that cannot be written does not stop the rest."""
    changed: List[str] = []
    renoted: List[str] = []
    missing: Dict[str, List[str]] = {}
    reason = ''
    bridges = {bridge.name: bridge for bridge in ovsdb.read_bridge_rows()}
    for pif in pifs:
        bridge = bridges.get(pif.bridge)
        if bridge is None:
            continue
        try:
            if correct_notes(ovsdb, pif, bridge):
                renoted.append(bridge.name)
            elif _write(xapi, pif, bridge.external_ids):
                changed.append(bridge.name)
        except (HostError, PolicyError) as error:
            reason = str(error)
            missing[bridge.name] = missing_keys(bridge.external_ids, pif.other_config)
    return Outcome(changed, renoted, missing, reason)


def tell_now(ovsdb: Ovsdb) -> Outcome:
    """Bring the records up to date in a session of our own; nothing on a host without XAPI."""
    if not os.path.exists(SOCKET):
        return Outcome([], [], {})
    with connect() as xapi:
        told = tell(xapi, read_pifs(xapi), ovsdb)
        # Notes are corrected first, and what they lead to is written after that.
        return tell(xapi, read_pifs(xapi), ovsdb) if told.renoted else told


def untell(ovsdb: Ovsdb) -> None:
    """Have the records say what they said before us; bridges' notes are true after that."""
    with connect() as xapi:
        bridges = {bridge.name: bridge for bridge in ovsdb.read_bridge_rows()}
        for pif in read_pifs(xapi):
            if pif.bridge in bridges:
                correct_notes(ovsdb, pif, bridges[pif.bridge])
            _write(xapi, pif, {})


def find_told() -> List[str]:
    """Return the bridges for which networkd was told anything by us."""
    if not os.path.exists(SOCKET):
        return []
    try:
        with connect() as xapi:
            return [pif.bridge for pif in read_pifs(xapi) if read_note(pif.other_config)]
    except HostError as error:
        raise HostError('%s: so it is not known what XAPI\'s PIF records tell networkd. What is '
                        'left there would have it cut VMs off when no flows of ours are there any '
                        'more: start the toolstack, then run this again' % error) from error


def correct_notes(ovsdb: Ovsdb, pif: Pif, bridge: Bridge) -> bool:
    """Have a bridge's notes say what was before us; True if one did not."""
    wrong = plan_notes(pif, bridge.external_ids, dict(_actual(bridge)))
    if wrong:
        ovsdb.set_bridge_notes(bridge.name, wrong)
    return bool(wrong)


def _actual(bridge: Bridge) -> Iterator[Any]:
    """Yield what a bridge is set to, by networkd's keys."""
    for told, value in zip(TOLD, (bridge.fail_mode, bridge.other_config.get(IN_BAND_KEY))):
        if value is not None:
            yield told.key, value


def _write(xapi: Xapi, pif: Pif, external_ids: Mapping[str, str]) -> bool:
    calls = plan_record(pif, external_ids)
    for call in calls:
        xapi.call(call.method, *call.args)
    return bool(calls)
