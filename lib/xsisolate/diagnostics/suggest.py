"""What to write so that what was refused is admitted: entries of allow lists, VIF by VIF.

Both ends' policies are asked: a packet that an enforced sender's refuses has not met the receiver's
yet. What a permissive VIF would refuse counts as what was refused. The record tells of TCP who has
begun, and entries say so if that is wanted.
"""
import re
import shlex
from typing import (Any, Collection, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Set,
                    Tuple)

from xsisolate.diagnostics.ends import End, Place, forwards
from xsisolate.diagnostics.inventory import VifView
from xsisolate.diagnostics.passage import party
from xsisolate.diagnostics.refused import Refused, RefusedReader, talk_of
from xsisolate.errors import PolicyError
from xsisolate.planner.refusal_record import (EGRESS, INGRESS, NEIGHBOUR, NO_SERVICE, NOT_A_PEER,
                                              UNASKED, Refusal)
from xsisolate.policy.admission import How, admit
from xsisolate.policy.model import IN, OUT, Mode, Peer, Prefix, Service
from xsisolate.policy.seal import format_peer
from xsisolate.policy.service import ICMP_ANSWERS, parse_service
from xsisolate.policy.suggestion import Want, suggest_entries

PLAIN = re.compile('[A-Za-z0-9_.][A-Za-z0-9_.-]{0,47}')
SIDES = (NOT_A_PEER, NO_SERVICE)
ANSWERS = frozenset(['%s/%d' % (protocol, answer) for protocol, answers in ICMP_ANSWERS.items()
                     for answer in answers.values()])


class Suggestion(NamedTuple):
    """What a VIF's allow list lacks."""

    view: VifView
    target: str                 # as `xsisolate set` takes it
    add: FrozenSet[Peer]

    @property
    def command(self) -> str:
        """The command that writes it, with the entries that are there already."""
        allow = sorted(map(format_peer, self.view.vif.policy.allow | self.add))
        return 'xsisolate set %s --allow %s' % (shlex.quote(self.target),
                                                shlex.quote(' '.join(allow)))


class Never(NamedTuple):
    """What is not to be admitted, or cannot be by an allow list."""

    owner: str
    reason: str
    frames: int
    because: str
    passed: bool                # it would be refused, and has passed: the VIF is permissive


class Suggested(NamedTuple):
    """What to write, what not, and which VMs had better share a group."""

    suggestions: Tuple[Suggestion, ...]
    never: Tuple[Never, ...]
    both_ways: Tuple[Tuple[str, str], ...]      # names of VMs that open connections to each other


def suggest(reader: RefusedReader, vm: str = '', since: float = 0.0, by_subnet: bool = False,
            without: Collection[str] = (), directions: bool = False) -> Suggested:
    """Return what to write so that what was refused of a VM, or of all, is admitted.

    `without`: names, uuids and addresses of ends about which nothing is suggested.
    `directions`: entries say who may begin, where the record tells and only one end did.
    """
    wants: Dict[str, Set[Want]] = {}
    subnets: Dict[str, Set[Prefix]] = {}
    never: Dict[Tuple[str, str, bool], Never] = {}
    opened: Set[Tuple[str, str]] = set()
    for one in reader.read(vm, since).rows:
        if any(known in without for end in (one.source, one.target)
               for known in (end.name, end.vm, end.address) if known):
            continue
        found = list(_wants(reader, one, directions)) if _is_about_peers(one.row.refusal) else []
        for vif, want, place in found:
            wants.setdefault(vif, set()).add(want)
            subnets.setdefault(vif, set()).update(place.facts.subnets if by_subnet else ())
        if found and one.source.vif and one.target.vif and _begins(one):
            opened.add((one.source.shown, one.target.shown))
        if not found and not _is_settled(one):
            key = (one.owner, one.row.refusal.reason, one.row.refusal.passed)
            frames = never[key].frames if key in never else 0
            never[key] = Never(*key[:2], frames + one.row.frames, one.because, key[2])
    names = [view.vm_name for view in map(reader.namer.view_of, wants) if view]
    suggestions = []
    for vif in sorted(wants):
        view = reader.namer.view_of(vif)
        add = suggest_entries(wants[vif], view.vif.policy.allow, sorted(subnets[vif])
                              ) if view else frozenset()
        if view and add:
            suggestions.append(Suggestion(view, _target(view, names), add))
    return Suggested(tuple(suggestions), tuple(never[key] for key in sorted(never)), tuple(
        (one, other) for one, other in sorted(opened) if one < other and (other, one) in opened))


def _begins(one: Refused) -> bool:
    """Tell whether a row's frames begin something: ARP and neighbour discovery belong to both."""
    service = one.row.refusal.service
    return not (one.row.refusal.answer or service == 'arp' or service in NEIGHBOUR
                or service in ANSWERS)


def _is_about_peers(refusal: Refusal) -> bool:
    """Tell whether entries may admit it: who opens a connection is refused as if it answered."""
    return refusal.reason.startswith(SIDES) or refusal.reason == UNASKED and _opens(refusal)


def _opens(refusal: Refusal) -> bool:
    """Tell whether the sender of frames has begun, as far as the record can tell."""
    return refusal.service.startswith('tcp/') and not refusal.answer


def _is_settled(one: Refused) -> bool:
    """Tell whether a policy that refused something admits it by now, or its VIF has gone."""
    return one.row.refusal.reason.startswith(SIDES)


def _target(view: VifView, names: List[str]) -> str:
    """Return how `set` is told of a VIF: the VM's name, if it means no other, and the device."""
    name = view.vm_name if PLAIN.fullmatch(view.vm_name) and names.count(
        view.vm_name) == 1 else view.vif.vm_uuid
    return '%s/%d' % (name, view.vif.id.devid)


def _wants(reader: RefusedReader, one: Refused,
           directions: bool) -> Iterator[Tuple[str, Want, Place]]:
    """Yield which isolated VIF of this host does not admit a row's frames, and what it lacks."""
    found = reader.namer.ends(one.row)
    if found is None:
        return
    place, source, target = found
    try:
        service = service_of(one.row.refusal.service)
    except PolicyError:
        return          # no service can mean it
    for side, asker, other in ((EGRESS, source, target), (INGRESS, target, source)):
        want = _want(place, side, asker, other, one, service)
        if want and directions:
            want = want._replace(service=_directed(want.service, side, one.row.refusal))
        if want and asker.vif:
            yield asker.vif.id.vif, want, place


def _want(place: Place, side: str, asker: End, other: End, one: Refused,
          service: Optional[Service]) -> Optional[Want]:
    if not asker.vif or asker.vif.policy.mode is not Mode.ISOLATED or forwards(asker):
        return None
    who = party(place, asker, other, side == INGRESS)
    how = admit(asker.vif.policy, place.groups, who,
                talk_of(one.row)._replace(leaves=side == EGRESS)).how
    lacks = how is How.NOT or how is How.REPLY and _opens(one.row.refusal)
    if who.refusal or not lacks:
        return None
    return Want(other.address, service, who.external and other.gateway)


def _directed(service: Optional[Service], side: str, refusal: Refusal) -> Optional[Service]:
    """Return a service with who has begun: of TCP a connection's first packet says it."""
    if service is None or service.protocol != 'tcp':
        return service
    return service._replace(direction=OUT if (side == EGRESS) is _opens(refusal) else IN)


def service_of(text: str) -> Optional[Service]:
    """Return the service that admits what was said; None if that was ARP or neighbour discovery.

    Raises PolicyError if there is none. The answer to a query belongs to the query's service.
    """
    if text == 'arp' or text in NEIGHBOUR:
        return None
    protocol, _, number = text.partition('/')
    queries = {answer: query for query, answer in ICMP_ANSWERS.get(protocol, {}).items()}
    if number.isdigit() and int(number) in queries:
        text = '%s/%d' % (protocol, queries[int(number)])
    return parse_service(text)


def describe(found: Suggested) -> Dict[str, Any]:
    """Return suggestions as JSON has them."""
    return {'suggestions': [{
        'vif': one.view.vif.id.vif, 'vm': one.view.vif.vm_uuid, 'name': one.view.vm_name,
        'device': str(one.view.vif.id.devid), 'permissive': one.view.vif.policy.permissive,
        'add': sorted(map(format_peer, one.add)),
        'allow': sorted(map(format_peer, one.view.vif.policy.allow | one.add)),
        'command': one.command} for one in found.suggestions],
        'never': [one._asdict() for one in found.never],
        'both_ways': [list(pair) for pair in found.both_ways]}
