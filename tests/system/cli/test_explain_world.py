"""`explain` over a whole network: policy, switch, oracle and real packets agree.

The oracle of tests/system/packets knows the policy from the documents alone. Each question
is asked of all four; what they say of the request must be one and the same.
"""
import itertools
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Tuple

import pytest
from xsisolate.diagnostics.explain import Asker, Explanation, walk
from xsisolate.diagnostics.inventory import Inventory, read_inventory
from xsisolate.diagnostics.passage import judge
from xsisolate.diagnostics.first_packet import CLIENT_PORT
from xsisolate.diagnostics.route import Asked, RouteFinder

from support.packets.rows import UPLINK, Case
from support.packets.frames import ICMP, IP, SCTP, TCP, UDP, ICMPv6EchoRequest, IPv6, Raw, eth
from support.packets.oracle import PARTIES, Oracle
from support.packets.shared_network import CONFIG, GATEWAY_MAC, LAN, SPECIAL, World

from support.command import connected, xsisolate

pytestmark = pytest.mark.any_python
OUTSIDE = {4: '192.0.2.1', 6: '2001:db8::1'}
SERVICES = ('', 'tcp/22', 'tcp/443', 'tcp/80', 'udp/53', 'udp/68', 'tftp', 'sctp/3868', 'esp',
            'icmp/13')
ALL = tuple(name for name in PARTIES if name not in {name for name, _, _ in SPECIAL})
# What is asked of the switch as well: one of each kind.
FEW = ('red1', 'red2', 'blue1', 'un', 'locked', 'svc1', 'svc2', 'far', 'web', 'wide', 'outer',
       'north', 'south', 'quar', 'off', 'gw', 'lan', 'redfar', 'outfar')
TRACED = ('', 'tcp/22', 'udp/53', 'tcp/443', 'tftp', 'sctp/3868', 'esp')


class Question(NamedTuple):
    """Who asks whom for what, over which IP version; `there` may be outside."""

    here: str
    there: str
    service: str
    version: int

    @property
    def id(self) -> str:
        """The question in a line."""
        return '%s to %s, %s, IPv%d' % (self.here, self.there, self.service or 'ping',
                                        self.version)


@pytest.fixture(scope='module')
def inventory(world: World) -> Inventory:
    """This host, read once."""
    with connected() as dom0:
        return read_inventory(dom0)


@pytest.fixture(scope='module')
def finder(inventory: Inventory) -> Iterator[RouteFinder]:
    """What understands questions."""
    with connected() as dom0:
        assert dom0.store is not None
        yield RouteFinder(inventory, dom0.store)


def address(name: str, version: int) -> str:
    """Return a party's address, or one outside."""
    if name == 'outside':
        return OUTSIDE[version]
    who = PARTIES[name].who
    return who.ip if version == 4 else who.ip6


def questions(names: Tuple[str, ...], services: Tuple[str, ...]) -> Iterator[Question]:
    """Yield what is asked: between VMs, and between a VM and machines beyond the uplink."""
    beyond = {'gw', 'outside', 'dom0'} | {name for name, _ in LAN}
    for here, there in itertools.permutations([*names, 'outside'], 2):
        if not ({here, there} <= beyond or 'dom0' in (here, there)):
            for service in services:
                for version in (4, 6):
                    yield Question(here, there, service, version)


def ask(question: Question) -> Asked:
    """Return the question as an admin writes it: VMs by name, others by address."""
    def name(who: str) -> str:
        here = who != 'outside' and PARTIES[who].place == who and who != 'dom0'
        return who if here else address(who, question.version)

    def given(who: str) -> str:     # unmanaged guests say nothing of theirs
        return address(who, question.version) if who in ('un', 'evil', 'quar', 'off') else ''
    return Asked(name(question.here), name(question.there), question.service, question.version,
                 given(question.here), given(question.there))


def frame(question: Question) -> Any:
    """Return the request as the sender's kernel would send it."""
    here, there, version = question.here, question.there, question.version
    mac = {name: PARTIES['gw' if name == 'outside' else name].who.mac for name in (here, there)}
    ip = (IP if version == 4 else IPv6)(src=address(here, version), dst=address(there, version))
    protocol, _, port = question.service.partition('/')
    if not protocol:
        said = ICMP() / Raw(b'ping') if version == 4 else ICMPv6EchoRequest(data=b'ping')
    elif protocol == 'icmp':
        said = ICMP(type=int(port)) / Raw(b'word')
    elif protocol == 'esp':
        setattr(ip, 'proto' if version == 4 else 'nh', 50)
        said = Raw(b'word' * 8)
    else:
        layer = {'tcp': TCP, 'sctp': SCTP}.get(protocol, UDP)
        said = layer(sport=CLIENT_PORT, dport=int(port or 69)) / Raw(b'word' * 4)
    return eth(mac[here], mac[there]) / ip / said


def place(name: str) -> str:
    """Return where frames for a party are seen."""
    return UPLINK if name == 'outside' else PARTIES[name].place


def sender(name: str) -> str:
    """Return whose port a party's frames come from."""
    return 'gw' if name == 'outside' else name


def rule(question: Question) -> bool:
    """Return what the oracle says: may the request be seen where it goes?"""
    oracle = Oracle({name for name, party in PARTIES.items() if party.place == name})
    return place(question.there) in oracle.rule(sender(question.here), bytes(
        frame(question))).may


def test_the_policy_says_what_the_oracle_says(finder: RouteFinder) -> None:
    """Every pair of the network, every service, both IP versions: without the switch."""
    wrong, counts = [], {True: 0, False: 0}
    for question in questions(ALL, SERVICES):
        if question.version == 6 and question.service not in ('', 'udp/53'):
            continue        # the services are the same ones
        route = finder.find(ask(question))
        steps = [step for hop in route.hops for step in judge(*hop, route.talk)]
        said = all(step.admits for step in steps)
        counts[said] += 1
        if said != rule(question):
            wrong.append('%s: policy says %s: %s' % (question.id, said, steps[-1:]))
    assert not wrong, '%d of %d\n%s' % (len(wrong), sum(counts.values()), '\n'.join(wrong[:20]))
    assert counts[True] > 700 and counts[False] > 3000, counts


@pytest.fixture(scope='module')
def explained(inventory: Inventory, finder: RouteFinder) -> Dict[Question, Explanation]:
    """What `explain` says to some of the questions, switch and answer included."""
    asker = Asker(inventory)
    return {question: walk(asker, finder.find(ask(question)))
            for question in one_service_each(questions(FEW, TRACED))}


def one_service_each(asked: Iterable[Question]) -> Iterator[Question]:
    """Yield one question of each pair: another service or IP version than the pair before."""
    for at, question in enumerate(asked):
        pair, nth = divmod(at, 2 * len(TRACED))
        if nth == (3 * pair + pair // len(FEW)) % (2 * len(TRACED)):
            yield question


def test_the_switch_agrees(explained: Dict[Question, Explanation]) -> None:
    wrong = ['%s: %s' % (question.id, [passage for passage in found.request + found.answer
                                       if passage.differs])
             for question, found in explained.items() if found.differs]
    assert not wrong, '%d of %d\n%s' % (len(wrong), len(explained), '\n'.join(wrong[:10]))
    assert all(passage.traced for found in explained.values() for passage in found.request)


def test_whoever_is_reached_can_answer(explained: Dict[Question, Explanation]) -> None:
    """Policies of two sides that admit a request admit its answer, but of DHCP servers."""
    mute = {question.id for question, found in explained.items()
            if found.passes and not found.answered}
    assert not mute


def test_packets_do_as_explained(world: World, explained: Dict[Question, Explanation]) -> None:
    """Every question's packet is sent; it arrives where it should if it was said to."""
    def whole(question: Question) -> bool:
        return sender(question.here) in world.radio.stations

    asked = [question for question in explained if whole(question)]
    cases = [Case(question.id, sender(question.here), (bytes(frame(question)),))
             for question in asked]
    world.prime()
    seen = world.radio.run(cases)
    wrong: List[str] = []
    for question in asked:
        arrived = place(question.there) in seen[question.id]
        if arrived != explained[question].passes:
            wrong.append('%s: explained %s, arrived %s' % (
                question.id, explained[question].passes, arrived))
    assert len(asked) > 300
    assert not wrong, '%d of %d\n%s' % (len(wrong), len(asked), '\n'.join(wrong[:20]))


HEAD = 'version: 1\nunsealed: accept\n'
GROUPS = CONFIG[CONFIG.index('groups:'):]
CONFIGURATIONS = {
    'no network': '', 'no subnets': 'networks: {xenbr0: {gateways: [{ipv4: 10.9.0.254, '
    'ipv6: "fd00:9::1", mac: "%s"}]}}\n' % GATEWAY_MAC,
    'no MAC address': 'networks: {xenbr0: {subnets: [10.9.0.0/24], gateways: [{ipv4: 10.9.0.254}, '
    '{ipv6: "fd00:9::1"}]}}\n',
    'closed': 'networks: {"*": {subnets: [10.9.0.0/24, "fd00:9::/64"], fail_closed: true}}\n'}
SOME = ('red1', 'red2', 'un', 'locked', 'svc1', 'web', 'wide', 'gw', 'lan', 'redfar')


@pytest.mark.parametrize('name', CONFIGURATIONS)
def test_other_configurations(world: World, name: str) -> None:
    """Policy and switch agree also where gateways and subnets are named otherwise, or not."""
    world.dom0.configure(HEAD + CONFIGURATIONS[name] + GROUPS)
    xsisolate('sync')
    with connected() as dom0:
        assert dom0.store is not None
        inventory = read_inventory(dom0)
        finder, asker = RouteFinder(inventory, dom0.store), Asker(inventory)
        found = {question: walk(asker, finder.find(ask(question)))
                 for question in one_service_each(questions(SOME, TRACED))}
    wrong = ['%s: %s' % (question.id, [passage for passage in one.request + one.answer
                                       if passage.differs])
             for question, one in found.items() if one.differs]
    assert not wrong, '%d of %d\n%s' % (len(wrong), len(found), '\n'.join(wrong[:5]))
    assert 20 < sum(one.passes for one in found.values()) < len(found) - 20
