"""The self-test's bridge with everybody on it, put there by the library that the hooks use."""
from contextlib import ExitStack
from time import monotonic
from types import TracebackType
from typing import Dict, FrozenSet, List, Mapping, Optional, Sequence, Type

from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.results import VifResult
from xsisolate.dataplane.vif_facts import read_vif
from xsisolate.dom0.linux import netdev
from xsisolate.dom0.linux.process import run
from xsisolate.dom0.ovs import flow_table
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.ovs.trial_bridge import TRIAL_BRIDGE, add_trial, delete_trial
from xsisolate.hooks.event import Event
from xsisolate.hooks.plug import plug, unplug
from xsisolate.openflow.flow import Flow
from xsisolate.planner.vif import Vif
from xsisolate.selftest import frames
from xsisolate.selftest.parties import EVERYBODY, GATEWAY, LAN, SILENT, UPLINK, Party
from xsisolate.selftest.played_host import (PlayedXenstore, own_root, read_configuration,
                                            write_metadata, write_remote_members)
from xsisolate.selftest.radio import Radio
from xsisolate.selftest.station import MTU, Station

UPLINK_DEVICE = 'xsi-uplink'
BACKEND_MAC = 'fe:ff:ff:ff:ff:ff'       # of a VIF's netdev in Dom0, as xenopsd has it


class Scene:
    """Bridge, uplink and parties, from the first to the last line of a `with`."""

    def __init__(self, parties: Sequence[Party], datapath: str) -> None:
        self.parties, self._datapath = parties, datapath
        self.stations: Dict[str, Station] = {}
        self.results: Dict[str, VifResult] = {}
        self.plug_times: List[float] = []
        self.radio = Radio(self.stations)
        self._stack = ExitStack()
        self.host: HostContext

    def __enter__(self) -> 'Scene':
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._stack.close()

    def _build(self) -> None:
        """Make everything; no VIF is plugged yet."""
        self._stack.enter_context(own_root())
        ovsdb = self._stack.enter_context(Ovsdb(trial=True))
        self.host = HostContext(ovsdb, PlayedXenstore(self.parties), read_configuration())
        write_remote_members()
        self._stack.callback(delete_trial, ovsdb)
        add_trial(ovsdb, self._datapath)
        self._add_station(UPLINK, UPLINK_DEVICE, EVERYBODY[GATEWAY].mac)
        run(['ip', 'link', 'set', 'dev', UPLINK_DEVICE, 'up'])
        ovsdb.ensure_port(TRIAL_BRIDGE, UPLINK_DEVICE, {})
        for party in self.parties:
            assert party.vif
            write_metadata(party)
            self._add_station(party.name, party.vif.vif, party.mac)

    def _add_station(self, place: str, device: str, mac: str) -> None:
        self.stations[place] = station = Station(device, mac)
        self._stack.callback(station.close)

    @property
    def places(self) -> FrozenSet[str]:
        """Where frames can be seen."""
        return frozenset(self.stations)

    @property
    def vifs(self) -> Mapping[str, Vif]:
        """The VIFs by their party's name, as they were programmed last."""
        return {name: result.vif for name, result in self.results.items()}

    def plug(self, party: Party) -> VifResult:
        """Put a party's VIF on the bridge, as the hook does when a VM starts."""
        event = _event(party)
        netdev.prepare(event.device, BACKEND_MAC, MTU)
        began = monotonic()
        result = self.refresh(party)
        self.plug_times.append(monotonic() - began)
        return result

    def refresh(self, party: Party) -> VifResult:
        """Bring a party's flows up to date, as the hook does when its policy changes."""
        event = _event(party)
        facts = read_vif(self.host.store, event.vif, party.vm_uuid, self.host.configuration)
        self.results[party.name] = result = plug(self.host, event, facts, None)
        return result

    def change(self, party: Party) -> VifResult:
        """Give a party another policy, sealed, and refresh it."""
        assert isinstance(self.host.store, PlayedXenstore)
        self.host.store.set_policy(party)
        write_metadata(party)
        return self.refresh(party)

    def unplug(self, party: Party) -> None:
        """Take a party's VIF off the bridge."""
        unplug(self.host, _event(party))
        self.results.pop(party.name, None)

    def introduce(self) -> None:
        """Let everybody but the silent say a word, so that the switch knows where they are.

        Twice, for a busy host may lose a frame, and would flood what is for its sender.
        """
        for _ in range(2):
            for party in self.parties:
                if party.name not in SILENT and party.name in self.results:
                    self.radio.send(party.name, _wanted(party, EVERYBODY[GATEWAY]))
            for party in (*LAN, EVERYBODY[GATEWAY]):
                self.radio.send(party.name, _wanted(party, EVERYBODY['un']))
            self.radio.listen()

    def flows(self) -> FrozenSet[Flow]:
        """Return our flows on the bridge."""
        return flow_table.read_flows(TRIAL_BRIDGE)


def _event(party: Party) -> Event:
    assert party.vif
    return Event('filter', 'vif', party.vif, party.vm_uuid)


def _wanted(party: Party, target: Party) -> bytes:
    return frames.arp(frames.REQUEST, party.mac, party.ipv4, frames.NO_MAC, target.ipv4)
