"""xcp-networkd as Open vSwitch meets it: each method is what one call of xapi's makes it do.

Which transactions, with what in them and in which order, is a fact of xen-api (ocaml/networkd:
network_utils.ml, network_server.ml; ocaml/xapi: nm.ml, xapi_network.ml, as of 26.1). What
differs here: a new bridge gets the sandbox's datapath, and a VIF is known by its name, because
the sandbox has no driver to know it by.
"""
import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from sandbox.ovs import Ovs
from sandbox.process import LabError, ip

VIF = re.compile(r'vif[0-9]+\.[0-9]+')
FAIL_MODE, DISABLE_IN_BAND = 'vswitch-controller-fail-mode', 'vswitch-disable-in-band'
STANDALONE, SECURE = 'standalone', 'secure'
REMOVE = ''             # disable_in_band: the key is taken away
# What xapi asks of a bond that is no LACP one.
BOND = ('lacp=off', 'bond_updelay=31000', 'bond_downdelay=200',
        'other-config:bond-miimon-interval=100', 'other-config:bond-detect-mode=carrier',
        'other-config:bond-rebalance-interval=1800000')


class Network(NamedTuple):
    """A network's record as far as networkd is told of it; `other_config` is the network's own."""

    uuid: str
    other_config: Mapping[str, str] = {}


class Networkd:
    """Plays networkd on one Open vSwitch."""

    def __init__(self, ovs: Ovs) -> None:
        self._ovs = ovs
        self._wants_flows: List[str] = []       # bridges whose next port brings default flows

    # --- what xapi asks of it ----------------------------------------------------------------

    def attach_internal(self, bridge: str, network: Network) -> None:
        """A VIF needs a network without PIF: its bridge is made, or left alone if it is there.

        networkd is not told the network's other_config.
        """
        if bridge not in self.bridges():
            self._create(bridge, {}, network.uuid)

    def plug_pif(self, bridge: str, device: str, network: Network, mac: str = '') -> None:
        """PIF.plug of a NIC, whether it is plugged or not: at xapi's start, at each VLAN's plug."""
        self._create(bridge, network.other_config, network.uuid, mac, igmp_snooping=False)
        self._add_port(bridge, device, [device])

    def plug_bond(self, bridge: str, bond: str, members: Sequence[str], network: Network,
                  mac: str, cleanup: Sequence[str] = ()) -> None:
        """PIF.plug of a bond: the bridges of its members, `cleanup`, go first."""
        for other in cleanup:
            self.destroy(other, force=True)
        self._create(bridge, network.other_config, network.uuid, mac, igmp_snooping=False)
        self._add_port(bridge, bond, members, mac)

    def plug_vlan(self, bridge: str, parent: str, tag: int, network: Network, beneath: Network,
                  device: str = '') -> None:
        """PIF.plug of a VLAN on `parent`, whose NIC is plugged once more before it."""
        if device:
            self.plug_pif(parent, device, beneath)
        for other in self._fakes(parent, tag):
            if other != bridge:
                self.destroy_bridge(other)
        self._create(bridge, network.other_config, '%s;%s' % (network.uuid, beneath.uuid),
                     vlan=(parent, tag))

    def destroy(self, bridge: str, force: bool = False) -> None:
        """PIF.unplug, or the last VIF of an internal network gone; not if VLANs need it."""
        vlans = self._fakes(bridge)
        if vlans and not force:
            return
        for device in [bridge] + self._ovs.vsctl('list-ifaces', bridge).split() + vlans:
            _set_down(device)
        self.destroy_bridge(bridge)

    def _create(self, bridge: str, other_config: Mapping[str, str], uuids: str, mac: str = '',
                vlan: Optional[Tuple[str, int]] = None,
                igmp_snooping: Optional[bool] = None) -> None:
        """Do what Bridge.create does with a network's other_config."""
        mode = other_config.get(FAIL_MODE, STANDALONE)
        mode = mode if mode in (STANDALONE, SECURE) else STANDALONE
        # It compares with a line that ends in \n: what is secure already counts as not.
        if mode == SECURE and bridge in self.bridges():
            self._wants_flows.append(bridge)
        in_band: Optional[str] = other_config.get(DISABLE_IN_BAND, REMOVE)
        if in_band not in ('true', 'false', REMOVE):
            in_band = None
        self.create_bridge(bridge, mode, in_band, vlan, mac, uuids, igmp_snooping)
        ip(['link set %s up' % bridge])

    def _add_port(self, bridge: str, name: str, devices: Sequence[str], mac: str = '') -> None:
        """Do what Bridge.add_port does."""
        if len(devices) == 1:
            ip(['link set %s up' % devices[0]])
            self.create_port(devices[0], bridge)
        else:
            self.create_bond(name, devices, bridge, mac)
            ip(['link set %s up' % device for device in devices])
        mac = mac or _mac_of(name)
        if bridge in self._wants_flows and mac:
            self._add_default_flows(bridge, mac, devices)
            self._wants_flows = [other for other in self._wants_flows if other != bridge]

    # --- its transactions --------------------------------------------------------------------

    def create_bridge(self, bridge: str, fail_mode: str = STANDALONE,
                      disable_in_band: Optional[str] = REMOVE,
                      vlan: Optional[Tuple[str, int]] = None, mac: str = '',
                      network_uuids: str = '', igmp_snooping: Optional[bool] = None) -> None:
        """Make a bridge, or set again what it is set to; with `vlan` (parent, tag) a fake one.

        A real bridge that becomes a fake one goes, and its VIFs come back on the parent: all of
        this is one transaction. `disable_in_band` None leaves the key alone.
        """
        is_real = bridge in self._real_bridges()
        words: List[str] = []
        if vlan and is_real:
            words += ['--', '--if-exists', 'del-br', bridge]
        words += ['--', '--may-exist', 'add-br', bridge]
        words += [vlan[0], str(vlan[1])] if vlan else []
        if mac:
            words += (['--', 'set', 'interface', bridge, 'MAC="%s"' % mac] if vlan else
                      ['--', 'set', 'bridge', bridge, 'other-config:hwaddr="%s"' % mac])
        if not vlan:
            words += ['--', 'set', 'bridge', bridge, 'fail_mode=' + fail_mode]
            if disable_in_band == REMOVE:
                words += ['--', 'remove', 'bridge', bridge, 'other_config', 'disable-in-band']
            elif disable_in_band:
                words += ['--', 'set', 'bridge', bridge,
                          'other_config:disable-in-band=' + disable_in_band]
        if network_uuids:       # of a VLAN's the parent learns, the fake bridge does not
            words += ['--', 'br-set-external-id', vlan[0] if vlan else bridge,
                      'xs-network-uuids', network_uuids]
        words += self._readd_vifs(bridge)
        if not vlan:
            words += self._snooping(bridge, igmp_snooping)
            words += [] if is_real else ['--', 'set', 'bridge', bridge,
                                         'datapath_type=' + self._ovs.datapath]
        self._ovs.vsctl(*words)

    def _readd_vifs(self, bridge: str) -> List[str]:
        """Return what adds the VIFs that are on a bridge to it, with their interfaces' type."""
        words: List[str] = []
        if bridge in self.bridges():
            for device in self._ovs.vsctl('list-ifaces', bridge).split():
                if VIF.fullmatch(device):
                    kind = self._ovs.vsctl('get', 'interface', device, 'type').strip('"')
                    words += _port(device, bridge, kind)
        return words

    def _snooping(self, bridge: str, igmp_snooping: Optional[bool]) -> List[str]:
        settings = ['other_config:mac-table-size=10000']
        if igmp_snooping is not None:
            settings += ['mcast_snooping_enable=%s' % str(igmp_snooping).lower(),
                         'other_config:enable-ipv6-mcast-snooping=false',
                         'other_config:mcast-snooping-disable-flood-unregistered=true']
        return [word for setting in settings for word in ('--', 'set', 'bridge', bridge, setting)]

    def destroy_bridge(self, bridge: str) -> None:
        """Take a bridge away, real or fake, with all its ports."""
        self._ovs.vsctl('--', '--if-exists', 'del-br', bridge)

    def create_port(self, device: str, bridge: str, internal: bool = False) -> None:
        """Put a device on a bridge, unless it is there."""
        self._ovs.vsctl(*_port(device, bridge, 'internal' if internal else ''))

    def create_bond(self, bond: str, members: Sequence[str], bridge: str, mac: str = '',
                    mode: str = 'balance-slb', settings: Sequence[str] = BOND) -> None:
        """Put a bond on a bridge, unless it is there."""
        self._ovs.vsctl('--', '--may-exist', 'add-bond', bridge, bond, *members,
                        *(['--', 'set', 'port', bond, 'MAC="%s"' % mac] if mac else []),
                        'bond_mode=' + mode, *settings)

    def destroy_port(self, name: str) -> None:
        """Take a port off its bridge, found by its own or its interface's name."""
        self._ovs.vsctl('--', '--with-iface', '--if-exists', 'del-port', name)

    def _add_default_flows(self, bridge: str, mac: str, devices: Sequence[str]) -> None:
        """Let Dom0 itself be reached although the bridge fails closed: one flow at a time."""
        for device in devices:
            port, reply = self._ovs.ofport(device), 'NORMAL' if len(devices) > 1 else ''
            for match, action in (('in_port=%d,arp,nw_proto=1' % port, 'local'),
                                  ('in_port=local,arp,dl_src=' + mac, reply or str(port)),
                                  ('in_port=%d,dl_dst=%s' % (port, mac), 'local'),
                                  ('in_port=local,dl_src=' + mac, reply or str(port))):
                self._ovs.ofctl('add-flow', bridge, 'idle_timeout=0,priority=0,%s,actions=%s'
                                % (match, action))

    # --- what is there -----------------------------------------------------------------------

    def bridges(self) -> List[str]:
        """Return all bridges, real and fake."""
        return self._ovs.vsctl('list-br').split()

    def _real_bridges(self) -> List[str]:
        return self._ovs.vsctl('--real', 'list-br').split()

    def _fakes(self, parent: str, tag: int = 0) -> List[str]:
        """Return the fake bridges on a bridge, or that of one VLAN."""
        tags: Dict[str, int] = {bridge: int(self._ovs.vsctl('br-to-vlan', bridge))
                                for bridge in self.bridges()
                                if bridge != parent
                                and self._ovs.vsctl('br-to-parent', bridge) == parent}
        return [bridge for bridge, found in tags.items() if tag in (0, found)]


def _port(device: str, bridge: str, kind: str = '') -> List[str]:
    words = ['--', '--may-exist', 'add-port', bridge, device]
    return words + (['--', 'set', 'interface', device, 'type=' + kind] if kind else [])


def _set_down(device: str) -> None:
    try:
        ip(['link set %s down' % device])
    except LabError:
        pass        # a VLAN's bridge that has no device


def _mac_of(device: str) -> str:
    """Return a device's MAC address; a bond's port is no device."""
    try:
        with open('/sys/class/net/%s/address' % device) as file:
            return file.read().strip()
    except OSError:
        return ''
