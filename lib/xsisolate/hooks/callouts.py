"""What xenopsd and others expect of a VIF script: their keys in xenstore, their own scripts."""
import os

from xsisolate.dom0.linux.process import CommandFailed, run
from xsisolate.dom0.linux.syslog import Log
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import HostError
from xsisolate.hooks.event import Event
from xsisolate.typing_compat import Dict, List, Mapping, NamedTuple, Optional

HOTPLUG_SCRIPT = '/etc/xapi.d/vif-hotplug'
TIMEOUT_S = 120.0               # of the scripts we call; xenopsd gives up after 300


class Paths(NamedTuple):
    """Where xenopsd keeps what concerns a VIF, and wants its answers."""

    private: str
    hotplug: str
    backend: str


def find_paths(event: Event) -> Paths:
    """Return the VIF's places in xenstore."""
    return Paths('/xapi/%s/private/vif/%d' % (event.vm_uuid, event.vif.devid),
                 '/xapi/%s/hotplug/%d/vif/%d' % (event.vm_uuid, event.vif.domid, event.vif.devid),
                 '/local/domain/0/backend/vif/%d/%d' % event.vif)


def read_private(store: Xenstore, paths: Paths) -> Dict[str, str]:
    """Return the keys that xenopsd keeps for the vif script; no guest can reach them."""
    values = store.read_children(paths.private)
    other = store.read_children(paths.private + '/other-config')
    values.update({'other-config/' + key: value for key, value in other.items()})
    return {key: value.decode('utf-8', 'replace') for key, value in values.items()}


def parse_trunks(private: Mapping[str, str]) -> Optional[List[int]]:
    """Return the VLANs of a trunk VIF; None if xenopsd does not say."""
    text = private.get('trunks')
    if text is None:
        return None
    words = text.replace(',', ' ').split()
    if not all(word.isdigit() and int(word) < 4096 for word in words):
        raise HostError('trunks: %.80r is not a list of VLANs' % text)
    return sorted(int(word) for word in words)


def run_script(script: str, event: Event) -> None:
    """Run another package's setup-vif-rules with the arguments that it expects."""
    run((script, event.backend, event.device, event.vm_uuid, str(event.vif.devid), event.action),
        timeout=TIMEOUT_S)


def pvs_proxy(command: str, event: Event, paths: Paths, private: Mapping[str, str],
              log: Log) -> None:
    """Have the PVS proxy's rules added or removed, where the VIF has a proxy."""
    if 'pvs-interface' not in private or not private.get('setup-pvs-proxy-rules'):
        return
    try:
        run((private['setup-pvs-proxy-rules'], command, event.kind, event.device, paths.private,
             paths.hotplug), timeout=TIMEOUT_S)
    except CommandFailed as error:
        log.warning('pvs proxy', vif=event.device, error=error)


def call_hotplug_script(event: Event, private: Mapping[str, str], log: Log) -> None:
    """Run the admin's own hook; how it ends is its own affair."""
    vif_uuid = private.get('vif-uuid')
    if not os.access(HOTPLUG_SCRIPT, os.X_OK) or not vif_uuid or not event.vm_uuid:
        return
    try:
        run((HOTPLUG_SCRIPT, '-action', event.action, '-vifuuid', vif_uuid,
             '-vmuuid', event.vm_uuid), timeout=TIMEOUT_S)
    except CommandFailed as error:
        log.warning('vif-hotplug', vif=event.device, error=error)
