"""Every VIF of this host, with what Dom0 knows of it and what its bridge carries for it."""
from collections import Counter
from typing import (AbstractSet, Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Optional,
                    Tuple)

from xsisolate.config.host_config import Configuration, read_last_configuration
from xsisolate.dataplane.bridge_settings import speaks_ours, why_open
from xsisolate.dataplane.bridge_snapshot import (BridgeSnapshot, find_vifs, make_snapshot,
                                                 read_facts, plan_context, vif_from_facts)
from xsisolate.dataplane.context import HostContext
from xsisolate.dataplane.interface_errors import ERROR_KEY
from xsisolate.dataplane.planning import plan_bridge
from xsisolate.dataplane.vif_facts import VifFacts, read_policy
from xsisolate.diagnostics.broken import Broken, read_time
from xsisolate.diagnostics.carried import Carried, recorded_policy
from xsisolate.diagnostics.counters import count_flows, read_counters
from xsisolate.diagnostics.origins import find_unbound
from xsisolate.diagnostics.unprotected import (DOMAINS_MAX, Unprotected, find_sriov_vifs,
                                               why_on_linux_bridge)
from xsisolate.dom0.ovs import flow_table
from xsisolate.dom0.ovs.ovsdb import Bridge
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import ConfigError, HostError, PolicyError, UnknownVif
from xsisolate.openflow.flow import Flow
from xsisolate.planner.context import PlanContext
from xsisolate.planner.drop_counts import Drops
from xsisolate.planner.items import Registry, parse_registry
from xsisolate.planner.retention import keeps_policy
from xsisolate.planner.vif import Vif, VifPort
from xsisolate.policy.model import Config, EffectivePolicy, Mode
from xsisolate.policy.resolve import quarantine
from xsisolate.policy.seal import SEAL_KEY, judge, state_word
from xsisolate.vif_id import VifId

BACKENDS = '/local/domain/0/backend/vif'
Step = Callable[[str], None]
Known = Tuple[Optional[VifFacts], str]          # a VIF's facts, or why there are none


class VifView(NamedTuple):
    """A VIF as admins look at it."""

    vif: Vif                    # in quarantine it keeps its MAC address, and mostly its networks
    vm_name: str                # what XAPI calls the VM; anything may be in it
    bridge: str                 # the real bridge that it is on; '' if none
    network: str                # the bridge's name as XAPI has it; '' if unknown
    vif_uuid: str
    seal: str                   # sealed, none, accepted, or what is wrong
    error: str                  # why it is in quarantine, mute, or was not plugged
    flows: int = 0
    drops: Optional[Drops] = None       # None: it has no counters
    doubt: bool = False         # it keeps what it ran on, for a moment
    carried: bool = True        # its bridge has the flows that it needs, or that it keeps
    certain: bool = True        # all of the policy that it keeps is known
    unprotected: Optional[Unprotected] = None   # no flow can enforce its policy: it is unlocked
    host: str = ''              # where hosts are looked at together, the one that it is on
    unbound: Tuple[str, ...] = ()       # what it may own and does not, and why

    @property
    def name(self) -> str:
        """The VIF's name in Dom0; behind that of its host, where there are several."""
        return '%s:%s' % (self.host, self.vif.id.vif) if self.host else self.vif.id.vif


class BridgeView(NamedTuple):
    """A bridge, and what policies on it depend on."""

    bridge: Bridge
    snapshot: BridgeSnapshot
    context: PlanContext
    registry: Registry
    exposed: str                # why it may forward what flows forbid
    error: str = ''             # why its flows cannot be read
    stale: bool = False         # it does not carry what its VIFs need, or more than that
    flows: int = 0              # of ours


class Inventory(NamedTuple):
    """This host."""

    vifs: Tuple[VifView, ...]
    bridges: Mapping[str, BridgeView]
    configuration: Configuration        # if it is broken, what it was when it last was not
    broken: Optional[Broken] = None

    @property
    def lacking(self) -> Tuple[VifView, ...]:
        """The VIFs whose bridges do not carry what they need."""
        return tuple(view for view in self.vifs if not view.carried)

    @property
    def unprotected(self) -> Tuple[VifView, ...]:
        """The VIFs whose policies no flow can enforce."""
        return tuple(view for view in self.vifs if view.unprotected)

    @property
    def is_carried(self) -> bool:
        """Tell whether bridges carry what their VIFs need."""
        return not self.lacking and not any(view.stale for view in self.bridges.values())

    def meet(self, later: 'Inventory') -> 'Inventory':
        """Return a later look; what bridges lack in it they lacked in this one as well."""
        lacking = {view.vif.id for view in self.lacking}
        return later._replace(
            vifs=tuple(view._replace(carried=view.carried or view.vif.id not in lacking)
                       for view in later.vifs),
            bridges={name: view._replace(stale=view.stale and name in self.bridges
                                         and self.bridges[name].stale)
                     for name, view in later.bridges.items()})

    def check_known(self) -> None:
        """Raise ConfigError if it is not known what VIFs may say to each other."""
        if self.broken and not self.broken.known:
            raise ConfigError('%s. The last valid configuration is not known, so this command '
                              'cannot say what VIFs may reach: correct the file'
                              % self.broken.error)


def read_inventory(dom0: HostContext, step: Step = lambda name: None) -> Inventory:
    """Return this host's VIFs: VIFs on Open vSwitch's bridges, and VIFs that should be there."""
    broken = None
    if dom0.configuration.error:
        last = read_last_configuration()
        broken = Broken(dom0.configuration.error, read_time(), last is not None)
        dom0 = dom0._replace(configuration=last or Configuration(Config()))
    bridges: Dict[str, BridgeView] = {}
    views: Dict[VifId, VifView] = {}
    for bridge in dom0.ovsdb.read_bridges():
        bridges[bridge.name], found = _read_bridge(dom0, bridge, broken, step)
        views.update((view.vif.id, view) for view in found)
    for vif_id in sorted(_plugged(dom0.store) - views.keys()):
        views[vif_id] = _homeless(dom0, vif_id)
    for vif_id, (facts, why) in find_sriov_vifs(dom0, views.keys()).items():
        views[vif_id] = _unprotected(dom0, vif_id, facts, why)
    return Inventory(tuple(views[vif_id] for vif_id in sorted(views)), bridges,
                     dom0.configuration, broken)


def _plugged(store: Xenstore) -> FrozenSet[VifId]:
    """Return all VIFs that xenopsd has made."""
    domids = store.directory(BACKENDS, DOMAINS_MAX) or []
    return frozenset(VifId(int(domid), int(devid)) for domid in domids if domid.isdigit()
                     for devid in store.directory('%s/%s' % (BACKENDS, domid)) or []
                     if devid.isdigit())


def _read_bridge(dom0: HostContext, bridge: Bridge, broken: Optional[Broken],
                 step: Step) -> Tuple[BridgeView, List[VifView]]:
    snapshot = make_snapshot(bridge)
    view = BridgeView(bridge, snapshot, plan_context(dom0, snapshot), {}, why_open(dom0, bridge))
    drops: Mapping[VifId, Drops] = {}
    flows: AbstractSet[Flow] = frozenset()
    try:
        if not speaks_ours(bridge):
            raise HostError('it speaks %s only: xsisolate sync adds what is missing'
                            % ', '.join(bridge.protocols))
        flows = flow_table.read_flows(bridge.name)
        view = view._replace(registry=parse_registry(flows), flows=len(flows))
        drops = read_counters(bridge.name)
    except HostError as error:
        view = view._replace(error=str(error))
    facts = {}
    for vif_id in find_vifs(snapshot):
        step(vif_id.vif)
        facts[vif_id] = _read_facts(dom0, vif_id)
    cookies = Counter(flow.cookie for flow in flows)
    view, views = _judge(dom0, view, facts, flows, broken)
    return view, [one._replace(flows=count_flows(view.registry, cookies, one.vif),
                               drops=drops.get(one.vif.id))
                  for one in views]


def _read_facts(dom0: HostContext, vif_id: VifId) -> Known:
    try:
        return read_facts(dom0, vif_id), ''
    except UnknownVif as error:
        return None, str(error)


def _judge(dom0: HostContext, view: BridgeView, facts: Mapping[VifId, Known],
           flows: AbstractSet[Flow],
           broken: Optional[Broken]) -> Tuple[BridgeView, List[VifView]]:
    """Return VIFs with the policies that they have, and whether the bridge carries these."""
    vifs = {vif_id: _make_vif(view.snapshot, known, vif_id) for vif_id, known in facts.items()}
    kept = {vif_id: recorded_policy(view.registry, vif, _shown_error(view.bridge, vif))
            for vif_id, vif in vifs.items()} if broken and not view.error else {}
    vifs.update((vif_id, vifs[vif_id]._replace(policy=policy))
                for vif_id, (policy, _) in kept.items())
    carried = Carried(view.registry, flows)
    known = broken is None or broken.known
    uncertain = {vif_id for vif_id, (_, certain) in kept.items() if not certain}
    keep = {vif_id for vif_id, vif in vifs.items() if carried.keeps(vif) and (
        facts[vif_id][0] is None or not known or vif_id in uncertain
        or keeps_policy(view.registry, vif, dom0.configuration.config))}
    planned, items = _plan(view, {vif_id: vif for vif_id, vif in vifs.items()
                                  if vif_id not in keep})
    planned.update((vif_id, vifs[vif_id]) for vif_id in keep)
    views = [_view(dom0, planned[vif_id], facts[vif_id], view) for vif_id in sorted(planned)]
    if view.error or items is None:
        return view, views
    return view._replace(stale=known and not carried.has_all(items)), [one._replace(
        certain=one.vif.id not in uncertain,
        carried=one.vif.id in keep or carried.has(vifs[one.vif.id], items))
        for one in views]


def _plan(view: BridgeView,
          vifs: Mapping[VifId, Vif]) -> Tuple[Dict[VifId, Vif], Optional[Registry]]:
    """Return VIFs with the policies that the planner gives them: some want what is another's.

    What it has closed keeps its MAC address and networks, for admins to look at.
    """
    try:
        plan = plan_bridge(view.registry, vifs.values(), view.context)
    except ConfigError as error:        # a group file: hooks fail, and VIFs stay as they are
        return {vif_id: _refuse(vif, str(error)) for vif_id, vif in vifs.items()}, None
    return {vif.id: vifs[vif.id]._replace(policy=vif.policy, mute=vif.mute, waiting=vif.waiting)
            for vif in plan.vifs}, plan.items


def _make_vif(snapshot: BridgeSnapshot, known: Known, vif_id: VifId) -> Vif:
    facts, error = known
    if facts is None:
        names = vif_id.netdevs
        return Vif(vif_id, policy=quarantine(error), ports=tuple(
            VifPort(link.interface, link.ofport) for link in snapshot.links
            if link.interface in names))
    return vif_from_facts(facts, snapshot, vif_id)._replace(
        vm_uuid=facts.vm_uuid, locking=facts.metadata.locking)


def _refuse(vif: Vif, reason: str) -> Vif:
    return vif if vif.policy.mode in (Mode.UNLOCKED, Mode.QUARANTINED) else vif._replace(
        policy=quarantine(reason))


def _homeless(dom0: HostContext, vif_id: VifId) -> VifView:
    """Return a VIF that is on none of Open vSwitch's bridges."""
    facts, why = _read_facts(dom0, vif_id)
    foreign = why_on_linux_bridge(facts) if facts else ''
    if facts and foreign:
        view = _unprotected(dom0, vif_id, facts, Unprotected(foreign, facts.policy))
        said = dom0.store.read_text('%s/%d/%d/hotplug-error' % (BACKENDS, *vif_id))
        return view._replace(error='%s; %s' % (view.error, said)) if said else view
    policy = facts.policy if facts else quarantine(why)
    vif = Vif(vif_id, facts.vm_uuid if facts else '', facts.metadata.mac if facts else '',
              policy=policy)
    said = dom0.store.read_text('%s/%d/%d/hotplug-error' % (BACKENDS, *vif_id))
    error = said or policy.reason or 'it is on no bridge of Open vSwitch: no hook has plugged it'
    return _view(dom0, vif, (facts, why), None)._replace(error=error)


def _unprotected(dom0: HostContext, vif_id: VifId, facts: VifFacts, why: Unprotected) -> VifView:
    """Return a VIF that no flow keeps apart: it is shown as what it is, which is unlocked."""
    vif = Vif(vif_id, facts.vm_uuid, facts.metadata.mac, policy=EffectivePolicy(Mode.UNLOCKED))
    return _view(dom0, vif, (facts, ''), None)._replace(unprotected=why, error=str(why))


def _view(dom0: HostContext, vif: Vif, known: Known, on: Optional[BridgeView]) -> VifView:
    facts, _ = known
    shown = _shown_error(on.bridge, vif) if on else ''
    return VifView(
        vif=vif if vif.mac or not facts else vif._replace(mac=facts.metadata.mac),
        vm_name=dom0.store.read_text('/local/domain/%d/name' % vif.id.domid) or '',
        bridge=on.bridge.name if on else '',
        network=facts.metadata.bridge if facts else '',
        vif_uuid=facts.metadata.vif_uuid if facts else '',
        seal=_read_seal(dom0, vif.id.domid, facts) if facts else 'unknown',
        error=vif.error or shown,
        unbound=tuple(find_unbound(vif, dom0.configuration.find_network(
            facts.metadata.bridge, facts.metadata.network_uuid))) if facts else (),
        doubt=bool(on) and keeps_policy(on.registry if on else {}, vif,
                                        dom0.configuration.config))


def _read_seal(dom0: HostContext, domid: int, facts: VifFacts) -> str:
    """Return how vm-data and seal go together, in a word."""
    try:
        policy = read_policy(dom0.store, domid, facts.identity)
    except PolicyError:
        return 'invalid'
    if dom0.configuration.config.accept_unsealed:
        return 'none' if policy is None else 'accepted'
    seal = facts.metadata.other_config.get(SEAL_KEY)
    return state_word(judge(facts.identity, seal, policy), seal)


def _shown_error(bridge: Bridge, vif: Vif) -> str:
    """Return xsisolate-error of the VIF's Interfaces."""
    names = {port.name for port in vif.ports}
    return next((interface.external_ids[ERROR_KEY] for port in bridge.ports
                 for interface in port.interfaces
                 if interface.name in names and ERROR_KEY in interface.external_ids), '')
