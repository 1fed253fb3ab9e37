"""Which of a pool's VIFs flows can protect, as XAPI and the hosts' plugins tell it."""
import json
from typing import Any, Dict, List, Mapping, Sequence

from xsisolate.admin.plugin_protocol import BRIDGES, PLUGIN
from xsisolate.dom0.xapi.session import Xapi, XapiError, one_line
from xsisolate.errors import PolicyError
from xsisolate.policy.address import quoted
from xsisolate.policy.unprotected import (NOT_PROTECTED, HostBridges, Reasons, find_linux_backend,
                                          find_sriov, is_foreign, why_foreign)
from xsisolate.policy.xapi_records import LIVE, XapiVif, XapiVm

Record = Mapping[str, Any]


class Protection:
    """What is to be known of a pool's networks; it is read once, hosts are asked at need."""

    def __init__(self, xapi: Xapi) -> None:
        self._xapi = xapi
        self._hosts: Dict[str, Any] = xapi.call('host.get_all_records')
        self._backend = find_linux_backend(self._hosts)
        self._sriov = self._find_sriov()
        self._said: Dict[str, HostBridges] = {}

    def _find_sriov(self) -> Reasons:
        pifs = self._xapi.call('PIF.get_all_records')
        if not any(pif.get('sriov_logical_PIF_of') for pif in pifs.values()):
            return {}
        return find_sriov(pifs, self._xapi.call('VLAN.get_all_records'))

    def why_not(self, vm: Record, vif: Record, network: Record) -> str:
        """Return why no flow can enforce the policy of a VIF, '' if flows can."""
        found = self._sriov.get(str(vif['network'])) or self._backend
        if found or not is_foreign(network):
            return found
        hosts = [str(vm['resident_on'])] if vm['power_state'] in LIVE else sorted(self._hosts)
        return why_foreign(str(network['bridge']), [self._ask(host) for host in hosts])

    def _ask(self, host: str) -> HostBridges:
        """Return what a host says of its bridges; only a pool-admin may ask."""
        if host not in self._said:
            self._said[host] = self._read(host)
        return self._said[host]

    def _read(self, host: str) -> HostBridges:
        name = one_line(str(self._hosts.get(host, {}).get('name_label', host)))
        try:
            reply = json.loads(self._xapi.call('host.call_plugin', host, PLUGIN, BRIDGES, {}))
            return HostBridges(name, frozenset(map(str, reply['ovs'])),
                               frozenset(map(str, reply['linux'])))
        except XapiError as error:
            return HostBridges(name, error='host %s was asked: %s' % (name, error))
        except (ValueError, KeyError, TypeError) as error:
            return HostBridges(name, error='the answer of host %s cannot be read: %s'
                                           % (name, error))


def find_unprotected(vifs: Sequence[XapiVif]) -> List[XapiVif]:
    """Return the VIFs whose policies no flow can enforce."""
    return [vif for vif in vifs if vif.unprotected]


def check_protected(vm: XapiVm, vifs: Sequence[XapiVif]) -> None:
    """Raise PolicyError if flows cannot enforce what is to be written for these VIFs."""
    open_ones = find_unprotected(vifs)
    if open_ones:
        raise PolicyError(
            'VM %s (%s) device %s: %s: %s. Nothing was written: a policy would promise what '
            'nothing enforces. Move the VIF to another network, or write it all the same with '
            '--anyway' % (quoted(vm.name), vm.uuid, ', '.join(vif.devid for vif in open_ones),
                          NOT_PROTECTED, open_ones[0].unprotected))
