"""May SRC reach DST? Asked of the policies and of the switch, which should say the same."""
import os
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from xsisolate.diagnostics.ends import End, Place, is_permissive
from xsisolate.diagnostics.flow_dump import find_names
from xsisolate.diagnostics.flow_words import decode_trace
from xsisolate.diagnostics.inventory import Inventory
from xsisolate.diagnostics.origins import FIXED, find_origins
from xsisolate.diagnostics.passage import Step, judge
from xsisolate.diagnostics.route import Asked, Hop, Route, find_route
from xsisolate.diagnostics.status import format_origin
from xsisolate.diagnostics.trace import Traced, find_ct, format_packet, parse_ports, parse_trace
from xsisolate.diagnostics.vm_lookup import label
from xsisolate.dom0.linux.kernel_modules import has_module
from xsisolate.dom0.ovs import appctl
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.policy.address import format_prefix
from xsisolate.policy.admission import How, Talk
from xsisolate.policy.seal import PORTABLE_WORD

REACHES, LEAVES, STOPPED = 'reaches', 'leaves', 'stopped'
DATA_PORT = 50000       # stands for the port from which a TFTP server sends
TFTP_HELPER = 'nf_conntrack_tftp'
KNOWN = {REACHES: True, LEAVES: None, STOPPED: False}


class Passage(NamedTuple):
    """One packet on one network: what the policies say, and what the switch says."""

    place: Place
    source: End
    target: End
    talk: Talk
    steps: Tuple[Step, ...]
    packet: str = ''            # as ofproto/trace was asked
    traced: Optional[Traced] = None
    trace: Tuple[str, ...] = ()         # what the switch said, in words
    delivered: bool = False     # by the switch
    silent: str = ''            # why the switch was not asked

    @property
    def admitted(self) -> bool:
        """Tell whether the policies let it through."""
        return all(step.admits for step in self.steps)

    @property
    def differs(self) -> bool:
        """Tell whether policies and switch say different things."""
        return self.traced is not None and self.delivered != self.admitted


class Explanation(NamedTuple):
    """The request's way and the answer's; through a router each has two networks to pass."""

    source: str
    target: str
    service: str
    request: Tuple[Passage, ...]
    answer: Tuple[Passage, ...]
    notes: Tuple[str, ...]

    @property
    def passes(self) -> bool:
        """Tell whether policies let the request through, as far as this host is asked."""
        return all(passage.admitted for passage in self.request)

    @property
    def verdict(self) -> str:
        """What this host knows: a request that leaves it may arrive, or may not."""
        if not self.passes:
            return STOPPED
        here = len(self.request) == 1 and self.request[0].target.vif
        return REACHES if here else LEAVES

    @property
    def towards(self) -> str:
        """Where a request goes that leaves this host, and by whose word."""
        if self.verdict != LEAVES:
            return ''
        first, last = self.request[0], self.request[-1]
        return first.target.beyond + (
            ', and comes back to %s if that routes it to network %s' % (
                last.target.name, last.place.name) if last is not first else '')

    @property
    def arrives(self) -> bool:
        """Tell whether the request begins beyond the uplink: whether it gets here is not known."""
        return self.request[0].source.vif is None

    @property
    def answered(self) -> bool:
        """Tell whether policies let an answer come back."""
        return bool(self.answer) and all(passage.admitted for passage in self.answer)

    @property
    def stopped_by(self) -> str:
        """Whose policy, or what, stops the request on this host; empty if nothing does."""
        step = next((step for passage in self.request for step in passage.steps
                     if not step.admits), None)
        return '' if step is None else '%s, %s' % (step.who, step.side)

    @property
    def would_be_stopped_by(self) -> str:
        """Whose policy would stop the request that passes, were the VIF not permissive."""
        step = next((step for passage in self.request for step in passage.steps
                     if step.would_refuse), None)
        return '' if step is None or not self.passes else '%s, %s' % (step.who, step.side)

    @property
    def differs(self) -> bool:
        """Tell whether policies and switch say different things of any packet."""
        return any(passage.differs for passage in self.request + self.answer)


def explain(inventory: Inventory, store: Xenstore, asked: Asked) -> Explanation:
    """Return whether one end may reach the other, why, and what the switch does."""
    route = find_route(inventory, store, asked)
    return walk(Asker(inventory), route._replace(notes=(
        *route.notes, *_note_portable(inventory, route), *_note_permissive(route))))


def _note_permissive(route: Route) -> Iterator[str]:
    """Yield which end's policy is judged only."""
    ends = {end.name: end for hop in route.hops for end in (hop.source, hop.target)}
    for name, end in ends.items():
        if is_permissive(end.vif):
            yield '%s is permissive: what its policy refuses is recorded, and passes' % name


def _note_portable(inventory: Inventory, route: Route) -> Iterator[str]:
    """Yield which end's policy every copy of its VM has, too."""
    ends = {end.vif.id for hop in route.hops for end in (hop.source, hop.target) if end.vif}
    for view in inventory.vifs:
        if view.vif.id in ends and view.seal == PORTABLE_WORD:
            yield '%s has a portable seal: every copy of the VM has the same policy' % label(view)


def find_warnings(inventory: Inventory) -> List[str]:
    """Return what makes the answers of this host uncertain."""
    return [str(inventory.broken)] if inventory.broken else []


def walk(asker: 'Asker', route: Route) -> Explanation:
    """Return what becomes of the request, and of the answer if policies let the request through."""
    request = asker.walk(route.hops, route.talk, False)
    done = all(passage.admitted for passage in request)
    asked = any(step.how is How.REQUEST for passage in request for step in passage.steps)
    talk = route.talk._replace(source=DATA_PORT if route.talk.related else route.talk.destination,
                               destination=route.talk.source, answer=True)
    back = [Hop(place, target, source) for place, source, target in reversed(route.hops)]
    return Explanation(route.hops[0].source.name, route.hops[-1].target.name, str(route.talk),
                       request, asker.walk(back, talk, asked) if done else (),
                       route.notes + _note_helper(route.talk) + _note_origins(route.hops)
                       + _note_additional(route.hops) + asker.find_exposed(route.hops))


def _note_origins(hops: Iterable[Hop]) -> Tuple[str, ...]:
    """Return where the ends' addresses come from that no policy lists."""
    ends = {(end.name, end.address): end for hop in hops for end in (hop.source, hop.target)}
    found = [(end, find_origins(end.vif).get(end.address)) for end in ends.values() if end.vif]
    return tuple('%s has address %s: %s' % (end.name, format_prefix(end.address),
                                            format_origin(origin))
                 for end, origin in found if origin and origin.word != FIXED)


def _note_helper(talk: Talk) -> Tuple[str, ...]:
    """Return what is to be said of a service that needs a helper of the kernel."""
    if not talk.related:
        return ()
    return ('TFTP sends its data from a port of its own: they pass by the kernel module %s%s' % (
        TFTP_HELPER, ', WHICH DOM0 DOES NOT HAVE: no data will pass'
        if has_module(TFTP_HELPER) is False else ''),)


def _note_additional(hops: Iterable[Hop]) -> Tuple[str, ...]:
    """Return by which other MAC addresses ends may speak: the switch is asked about their own."""
    ends = {end.name: end for hop in hops for end in (hop.source, hop.target)}
    return tuple('%s may also use MAC address %s: frames for it go to the VIF that spoke by it last'
                 % (name, ' '.join(sorted(end.vif.policy.macs)))
                 for name, end in ends.items() if end.vif and end.vif.policy.macs)


class Asker:
    """Puts packets to policies and to the switch."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._ports: Mapping[str, int] = {}

    def walk(self, hops: Iterable[Hop], talk: Talk, asked: bool) -> Tuple[Passage, ...]:
        """Return the passages of a packet, up to the one where policies stop it."""
        done: List[Passage] = []
        for place, source, target in hops:
            steps = judge(place, source, target, talk, asked)
            done.append(self._ask_switch(Passage(place, source, target, talk, steps), asked))
            if not done[-1].admitted:
                break
        return tuple(done)

    def find_exposed(self, hops: Iterable[Hop]) -> Tuple[str, ...]:
        """Return what is to be said of bridges on which more may pass than policies say."""
        names = sorted({hop.place.bridge for hop in hops})
        exposed = [(name, self._inventory.bridges[name].exposed) for name in names]
        return tuple('bridge %s may forward what its flows forbid: %s' % (name, reason)
                     for name, reason in exposed if reason)

    def _ask_switch(self, passage: Passage, asked: bool) -> Passage:
        view = self._inventory.bridges[passage.place.bridge]
        uplinks = view.context.topology.uplinks
        if passage.target.lost:
            return passage._replace(silent='nothing finds the way to %s' % passage.target.name)
        if not uplinks and not (passage.source.vif and passage.target.vif):
            return passage._replace(silent='bridge %s has no uplink by which the packet could '
                                    'come or go' % passage.place.bridge)
        port = passage.source.vif.ports[0].ofport if passage.source.vif else uplinks[0][0]
        packet = format_packet(
            port, self._vlan(passage), (passage.source.mac, passage.target.mac),
            (passage.source.address, passage.target.address), passage.talk)
        text = appctl.trace(view.bridge.name, packet, find_ct(passage.talk, asked))
        traced = parse_trace(text)
        names = find_names(view, view.registry)
        return passage._replace(packet=packet, traced=traced,
                                trace=tuple(decode_trace(text, names)),
                                delivered=self._delivered(passage, traced))

    def _vlan(self, passage: Passage) -> int:
        """Return the tag that the packet has where it enters the bridge."""
        tagged = passage.source.vif is None or passage.source.vif.trunk
        return passage.place.number & 0xfff if tagged else 0

    def _delivered(self, passage: Passage, traced: Traced) -> bool:
        """Tell whether the switch sends a packet where its receiver is.

        A VM that migrates within the host is where it has spoken last, on either half's port.
        """
        self._ports = self._ports or parse_ports(appctl.show_ports())
        target = passage.target.vif
        if target:
            halves = [vif for _, vif in passage.place.vifs
                      if (vif.vm_uuid, vif.mac) == (target.vm_uuid, target.mac)]
            return any(self._ports.get(port.name) in traced.ports
                       for vif in [target, *halves] for port in vif.ports)
        return bool(traced.ports) or traced.balanced


def read_hostname() -> str:
    """Return this host's name."""
    return os.uname().nodename


def describe(explanation: Explanation) -> Dict[str, Any]:
    """Return an explanation as JSON has it; `reaches` is null where this host cannot know."""
    return {'source': explanation.source, 'target': explanation.target,
            'service': explanation.service, 'verdict': explanation.verdict,
            'reaches': KNOWN[explanation.verdict], 'towards': explanation.towards or None,
            'arrives': explanation.arrives,
            'host': read_hostname(), 'asked': False, 'stopped_by': explanation.stopped_by or None,
            'would_be_stopped_by': explanation.would_be_stopped_by or None,
            'answered': explanation.answered, 'differs': explanation.differs,
            'notes': list(explanation.notes),
            'request': [_describe(passage) for passage in explanation.request],
            'answer': [_describe(passage) for passage in explanation.answer]}


def _describe(passage: Passage) -> Dict[str, Any]:
    traced = passage.traced
    return {'network': passage.place.name, 'bridge': passage.place.bridge,
            'source': passage.source.name, 'target': passage.target.name,
            'admitted': passage.admitted, 'differs': passage.differs,
            'leaves': passage.admitted and not passage.target.vif,
            'steps': [{'side': step.side, 'who': step.who, 'admits': step.admits,
                       'would_refuse': step.would_refuse, 'because': step.because}
                      for step in passage.steps],
            'switch': None if traced is None else {
                'delivered': passage.delivered, 'end': traced.end, 'packet': passage.packet,
                'trace': list(passage.trace)},
            'switch_not_asked': passage.silent or None}
