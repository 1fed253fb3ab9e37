"""Whatever guest, admin and toolstack do in whatever order, no VIF may do more than was sealed."""
import json
import time
from collections import Counter
from typing import Any, ClassVar, Dict, List

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from sandbox import seals
from sandbox.host import Host
from sandbox.process import ip
from sandbox.dom0 import Sandbox
from sandbox.toolstack import Toolstack
from sandbox.xenstored import Dom0Connection, Xenstored

from suite import EXPLORE

from support.reachability import SILENT_S, can_talk, say
from support.hook_log import lines
from support.guest_machine import BRIDGES, RANKS, Being, GuestMachine, Outcome, Place, is_inside

from xsisolate.config.host_config import Configuration
from xsisolate.config.load import parse_config
from xsisolate.dataplane.vif_facts import read_vif
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.pipeline.delivery import Topology
from xsisolate.pipeline.tables import NETWORK
from xsisolate.planner.context import GroupInput, PlanContext
from xsisolate.planner.cookie import Kind, port_key
from xsisolate.planner.items import Registry
from xsisolate.planner.plan import draft_plan, finish_plan
from xsisolate.planner.vif import Attached, Vif, VifPort
from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import VifPolicy
from xsisolate.policy.seal import canonical_policy
from xsisolate.vif_id import VifId

pytestmark = [pytest.mark.any_python, pytest.mark.random, pytest.mark.host(sealed=True)]

SEQUENCES, STEPS = 200 * EXPLORE, 12
REAL_SEQUENCES, REAL_STEPS = 6 * EXPLORE, 8
ANYHOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much,
          HealthCheck.large_base_example]


def play(machine: Any, sequences: int, steps: int) -> None:
    """Run a machine and say how much it did."""
    began, machine.outcomes = time.monotonic(), Counter()
    run_state_machine_as_test(machine, settings=settings(
        max_examples=sequences, stateful_step_count=steps, deadline=None, database=None,
        suppress_health_check=ANYHOW, print_blob=False))
    print('%s: %d sequences, %d steps, %.1f s, hooks: %s' % (
        machine.__name__, machine.sequences, machine.steps, time.monotonic() - began,
        dict(machine.outcomes)))
    assert machine.sequences >= sequences
    assert len(machine.outcomes) == len(RANKS) or machine is SwitchedMachine    # each mode occurs


def config_of(machine: GuestMachine) -> str:
    """Return the configuration file for a machine's settings."""
    roster = machine.settings.roster
    groups = {} if roster is None else {'red': {'vms': sorted(roster)}}
    return json.dumps({'version': 1, 'grace': 0, 'groups': groups, 'networks': {
        '*': {'default': machine.settings.default, 'subnets': ['10.9.0.0/24']}}})


# --- in one process --------------------------------------------------------------------------


class PlannedMachine(GuestMachine):
    """A hook is what it reads and what it plans; there is no switch."""

    configurations: Dict[str, Configuration] = {}       # YAML takes longer than all the rest
    client: Xenstore

    def __init__(self) -> None:
        self.registries: Dict[str, Registry] = {bridge: {} for bridge in BRIDGES}
        self.where: Dict[VifId, str] = {}     # the bridge of each VIF
        super().__init__()

    def configure(self) -> None:
        """Parse the settings as the hooks would."""
        text = config_of(self)
        if text not in self.configurations:
            self.configurations[text] = Configuration(parse_config(text, 'test'))
        self.configuration = self.configurations[text]

    def run_hook(self, being: Being, place: Place, devid: int, event: str) -> Outcome:
        """Read a VIF as the hooks do and plan its bridge."""
        vif_id = VifId(place.domain.domid, devid)
        facts = read_vif(self.client, vif_id, place.domain.uuid, self.configuration)
        bridge = facts.metadata.bridge
        if self.where.get(vif_id, bridge) != bridge:
            self.plan(Vif(vif_id), self.where[vif_id])
        self.where[vif_id] = bridge
        vif = self.plan(Vif(
            vif_id, facts.vm_uuid, facts.metadata.mac,
            (Attached(NETWORK, bridge, facts.metadata.network_uuid),), False, facts.policy,
            (VifPort(vif_id.vif, ofport(*vif_id)),), facts.arriving), bridge)
        return Outcome(vif.policy.mode.word, vif.policy.groups,
                       frozenset(canonical_policy(VifPolicy(allow=vif.policy.allow))['allow']),
                       frozenset(map(format_prefix, vif.policy.addresses)),
                       'already' in vif.policy.reason)

    def run_clear(self, being: Being, place: Place, devid: int) -> None:
        """Plan the bridge without a VIF."""
        bridge = self.where.pop(VifId(place.domain.domid, devid))
        self.plan(Vif(VifId(place.domain.domid, devid)), bridge)

    def plan(self, vif: Vif, bridge: str) -> Vif:
        """Plan a bridge; no other VIF's port may change."""
        ofports = {'vif%d.%d' % number: ofport(*number) for number, where in self.where.items()
                   if where == bridge and (number != vif.id or vif.ports)}
        before = self.registries[bridge]
        context = PlanContext(
            Topology((), tuple(('%d' % port, None) for port in sorted(ofports.values()))), ofports,
            self.configuration.config)
        draft = draft_plan(before, [vif], context)
        plan = finish_plan(draft, dict.fromkeys(draft.groups, GroupInput()))
        after = self.registries[bridge] = {key: item._replace(flows=None)
                                           for key, item in plan.items.items()}
        own = port_key(vif.id.vif)
        for key in before.keys() - {own}:
            assert key.kind is not Kind.PORT or after[key] == before[key]
        return plan.vifs[0]


def ofport(domid: int, devid: int) -> int:
    """Return a number that no other VIF of a sequence has."""
    return domid % 30000 * 2 + devid + 1


def test_no_sequence_gains_anything(namespaces: None) -> None:
    """Real xenstore, rings and metadata; the plan instead of the switch."""
    daemon, store = Xenstored(), Dom0Connection()
    daemon.start()
    try:
        store.connect()
        PlannedMachine.toolstack = Toolstack(store, '/setup-vif-rules', '/vif')
        with Xenstore() as PlannedMachine.client:
            play(PlannedMachine, SEQUENCES, STEPS)
    finally:
        store.close()
        daemon.stop()


# --- on the switch ---------------------------------------------------------------------------

ADDRESS, FRIEND, RIVAL, PLAIN = ('10.9.0.%d' % n for n in (11, 12, 98, 99))
FORGED_MAC = '02:66:66:66:66:66'


class SwitchedMachine(GuestMachine):
    """A hook is a process, the switch is real, and strangers lend an ear."""

    devids = (0,)
    host: ClassVar[Sandbox]
    bodies: ClassVar[List[Host]]                # of guests that do not run just now
    neighbours: ClassVar[Dict[str, Dict[str, Host]]]    # by bridge and name
    frames: ClassVar[int] = 0
    pings: ClassVar[int] = 0

    def __init__(self) -> None:
        self.embodied: Dict[int, Host] = {}     # by domid
        super().__init__()

    def configure(self) -> None:
        """Write the configuration file."""
        self.host.configure(config_of(self))

    def cable(self, being: Being, place: Place, devid: int) -> None:
        """Give the VIF two ends, one in a namespace."""
        body = self.bodies.pop() if self.bodies else Host('body')
        domid = place.domain.domid
        self.embodied[domid] = body
        body.add_device('eth0', 'vif%d.0' % domid, being.vifs[devid].mac)
        body.configure('eth0', [ADDRESS + '/24'])

    def run_hook(self, being: Being, place: Place, devid: int, event: str) -> Outcome:
        """Run a hook, look at its line, and at frames."""
        hooks, vif, domain = self.host.hooks, being.vifs[devid], place.domain
        calls = {'plug': lambda: [hooks.udev_vif('online', domain.domid, devid)],
                 'refresh': lambda: hooks.locking_changed(domain, vif),
                 'move': lambda: hooks.moved(domain, vif)[:1]}[event]()
        run, = hooks.run(*calls)
        said = lines(run)
        assert run.code == 0 and run.seconds < 3, run
        self.host.ovs.settle()
        words = dict(word.partition('=')[::2] for word in said[0].split())
        groups = frozenset(filter(None, words.get('groups', '').split(',')))
        self.listen(being, place, words['mode'], groups)
        return Outcome(words['mode'], groups, conflict='already' in said[-1])

    def run_clear(self, being: Being, place: Place, devid: int) -> None:
        """Cut the VIF and run the hook, as on a host."""
        name, domid = 'vif%d.%d' % (place.domain.domid, devid), place.domain.domid
        ip(['link del ' + name])
        self.host.ovs.lose_device(name)
        run, = self.host.hooks.run(self.host.hooks.udev_vif('remove', domid, devid))
        assert run.code == 0 and lines(run), run
        self.bodies.append(self.embodied.pop(domid))

    def teardown(self) -> None:
        """Look once more before it ends."""
        for being in self.beings:
            for place in being.places():
                for devid in sorted(place.plugged):
                    self.hook(being, place, devid)
        super().teardown()

    def listen(self, being: Being, place: Place, mode: str, groups: Any) -> None:
        """Let a guest and strangers speak, and its friend, where there is one."""
        vif, body = being.vifs[0], self.embodied[place.domain.domid]
        near = self.neighbours[vif.bridge]
        sealed = seals.effective(being.sealed[0] or {}, 0)
        if mode in ('isolated', 'disabled', 'quarantined'):
            strangers = [(name, address) for name, address in (('rival', RIVAL), ('plain', PLAIN))
                         if not is_allowed(address, sealed)]
            self.check_silence(body, vif.mac, [near[name] for name, _ in strangers])
        if (mode == 'isolated' and 'red' in groups and not being.coming
                and is_inside(ADDRESS, sealed.get('ipv4', vif.ipv4_allowed))):
            type(self).pings += 1
            assert can_talk(body, FRIEND), (vif, being.sealed)

    def check_silence(self, body: Host, mac: str, strangers: List[Host]) -> None:
        """Fail if a guest hears one of these, or they it."""
        macs = {stranger.call('run', ['cat', '/sys/class/net/eth0/address'], 5)[1].strip():
                stranger for stranger in strangers}
        for host in [body, *strangers]:
            host.sniff()
        for theirs, stranger in macs.items():
            body.send_all([say(own, ADDRESS, *to) for own in (mac, FORGED_MAC)
                           for to in ((), (theirs, PLAIN))])
            stranger.send_all([say(theirs, PLAIN), say(theirs, PLAIN, mac, ADDRESS)])
        heard = sources(body.sniffed(wait=SILENT_S / 3)) & macs.keys()
        for stranger in strangers:
            heard |= sources(stranger.sniffed(wait=0)) & {mac, FORGED_MAC}
        type(self).frames += 6 * len(strangers)
        assert not heard, heard


def is_allowed(address: str, sealed: Any) -> bool:
    """Tell whether a policy may let an address in, with whatever service."""
    peers = [peer.partition(';')[0] for peer in sealed.get('allow', ())]
    return is_inside(address, [peer for peer in peers if peer != 'external'])


def sources(frames: List[bytes]) -> Any:
    """Return the MAC addresses that frames come from."""
    return {frame[6:12].hex(':') for frame in frames}


def test_no_sequence_on_a_switch_gains_a_packet(dom0: Sandbox) -> None:
    """The same machine with real hooks and real frames."""
    SwitchedMachine.host, SwitchedMachine.toolstack = dom0, dom0.toolstack
    SwitchedMachine.bodies, SwitchedMachine.neighbours = [], {}
    SwitchedMachine.last_number = 1000
    dom0.configure('version: 1\n')
    for bridge in BRIDGES:
        dom0.add_bridge(bridge)
        SwitchedMachine.neighbours[bridge] = {
            name: dom0.start_vm(name, bridge=bridge, ipv4=address + '/24', policy=policy)
            for name, address, policy in (
                ('friend', FRIEND, {'groups': 'red', 'vif/0/ipv4': FRIEND}),
                ('rival', RIVAL, {'groups': 'green', 'allow': '10.9.0.0/24',
                                  'vif/0/ipv4': RIVAL}), ('plain', PLAIN, None))}
    try:
        play(SwitchedMachine, REAL_SEQUENCES, REAL_STEPS)
        print('%d forbidden frames, %d pings' % (SwitchedMachine.frames, SwitchedMachine.pings))
    finally:
        for body in SwitchedMachine.bodies:
            body.halt()
