"""Who may begin, and what belongs to what was begun: directions of rules, and their state.

`ward` begins outward and is asked by SSH and pings only; it asks `un`, and `evil` asks it.
"""
from typing import Any, Callable, Iterator, List, Mapping, NamedTuple, Tuple

from support.packets.attacks import OUTSIDE, OUTSIDE6, Parties
from support.packets.frames import (ICMP, IP, UDP, ICMPv6DestUnreach, ICMPv6EchoReply,
                                    ICMPv6PacketTooBig, ICMPv6ParamProblem, ICMPv6TimeExceeded,
                                    IPv6, Raw, arp, eth, ns, ping6, segment, split4, split6)
from support.packets.rows import Case, attack, legit

Steps = List[Tuple[str, Any]]
FORGED = ('SA', 'A', 'PA', 'FA', 'R', 'RA')
MIDSTREAM = ('A', 'PA', 'FA', 'R', 'RA', '', 'F', 'SF', 'SR')
ESP, SCTP_HEADER = 50, bytes.fromhex('0f0f0f1c') + bytes(20)


class Line(NamedTuple):
    """Two ends of one IP version, and which address each speaks by."""

    version: int
    client: Any                 # a party: what sends, and where it is seen
    server: Any
    ip: str = ''                # the client's address, if it is not its own
    to: str = ''                # the server's

    @property
    def ends(self) -> Tuple[str, str]:
        """The client's and the server's address."""
        own = 'ip' if self.version == 4 else 'ip6'
        return self.ip or getattr(self.client, own), self.to or getattr(self.server, own)

    def ask(self, payload: Any, **more: Any) -> Any:
        """Return a packet of the client's."""
        return self._packet(self.client, self.server, self.ends, payload, more)

    def answer(self, payload: Any, **more: Any) -> Any:
        """Return a packet of the server's."""
        return self._packet(self.server, self.client, self.ends[::-1], payload, more)

    def _packet(self, sender: Any, to: Any, ends: Tuple[str, str], payload: Any, more: Any) -> Any:
        header = IP if self.version == 4 else IPv6
        return eth(sender, to) / header(src=ends[0], dst=ends[1], **more) / payload

    def handshake(self, sport: int, dport: int) -> Steps:
        """Return what opens a TCP connection."""
        return [(self.client.name, self.ask(segment(sport, dport, 'S'))),
                (self.server.name, self.answer(segment(dport, sport, 'SA'))),
                (self.client.name, self.ask(segment(sport, dport, 'A')))]

    def raw(self, proto: int) -> Mapping[str, int]:
        """Return the field of the header that names a protocol."""
        return {'proto' if self.version == 4 else 'nh': proto}

    def __str__(self) -> str:
        return '%s to %s, IPv%d' % (self.client.name, self.server.name, self.version)


def lines(w: Parties, client: str, server: str) -> Iterator[Line]:
    """Yield the lines between two parties; `gw` stands for what is outside."""
    for version, outside in ((4, OUTSIDE), (6, OUTSIDE6)):
        yield Line(version, w[client], w[server], outside if client == 'gw' else '',
                   outside if server == 'gw' else '')


def place(who: Any) -> str:
    """Return where a party's frames are seen."""
    return 'uplink' if who.name == 'gw' else str(who.name)


def errors(line: Line, inner: Any, by_client: bool) -> Iterator[Any]:
    """Yield an ICMP error of each kind about a packet of the line."""
    say = line.ask if by_client else line.answer
    if line.version == 4:
        for kind in (3, 11, 12):
            yield say(ICMP(type=kind) / inner[IP])
        return
    for kind in (ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, ICMPv6ParamProblem):
        yield say(kind() / inner[IPv6])


# Lines on which the client may begin, and the server may not: what the policy of one of them says.
DIRECTED = (('ward', 'gw'), ('ward', 'un'), ('evil', 'ward'))
# With a port, on which either may be the server.
SERVED = (('svc1', 'svc2', 22), ('web', 'gw', 443), ('gw', 'ward', 22))


def begun(w: Parties) -> Iterator[Case]:
    """What may begin, and all that belongs to it."""
    for client, server in DIRECTED:
        for line in lines(w, client, server):
            yield from _asked_and_answered(line)
    for client, server, port in SERVED:
        for line in lines(w, client, server):
            yield from _connection(line, port)
    for line in lines(w, 'ward', 'gw'):
        yield from _connection(line, 8080)
    ward = w['ward']
    for line in lines(w, 'gw', 'ward'):
        if line.version == 4:
            asked = ('gw', line.ask(ICMP(type=8, id=7)))
            yield legit('ward is pinged from outside', 'gw', 'ward', asked[1])
            yield legit('ward answers a ping from outside', 'ward', 'uplink', line.answer(
                ICMP(type=0, id=7)), steps=[asked])
    for name in ('un', 'evil'):     # whoever may begin
        you = w[name]
        yield legit('%s resolves ward' % name, name, 'ward', arp(you, 1, you.ip, ward.ip, ward),
                    ns(you, ward.ip6, ward))
        yield legit('ward resolves %s' % name, 'ward', name, arp(ward, 1, ward.ip, you.ip, you),
                    ns(ward, you.ip6, you))


def _asked_and_answered(line: Line) -> Iterator[Case]:
    """Yield rows of protocols that need no handshake."""
    client, server = line.client.name, line.server.name
    echo, back = (ICMP(type=8, id=8), ICMP(type=0, id=8)) if line.version == 4 else (
        ping6(line.client, line.server)[IPv6].payload, ICMPv6EchoReply(data=b'ping'))
    for what, ask, answer, more in (
            ('UDP', UDP(sport=4020, dport=4021) / b'word', UDP(sport=4021, dport=4020) / b'word',
             {}), ('ping', echo, back, {}), ('ESP', Raw(bytes(30)), Raw(bytes(30)), line.raw(ESP))):
        asked = line.ask(ask, **more)
        yield legit('%s: %s' % (line, what), client, place(line.server), asked)
        yield legit('%s: %s, answered' % (line, what), server, place(line.client), line.answer(
            answer, **more), steps=[(client, asked)])
    asked = line.ask(UDP(sport=4022, dport=4023) / b'word')
    yield legit('%s: errors about a datagram' % str(line), server, place(line.client), *errors(
        line, asked, False), steps=[(client, asked)])
    answered = line.answer(UDP(sport=4025, dport=4024) / b'word')
    yield legit('%s: errors about an answer' % str(line), client, place(line.server), *errors(
        line, answered, True), steps=[
            (client, line.ask(UDP(sport=4024, dport=4025) / b'word')), (server, answered)])


def _connection(line: Line, port: int) -> Iterator[Case]:
    """Yield rows of a TCP connection, each of one that no other row uses; it ends soon."""
    client, server = line.client.name, line.server.name
    here, there = place(line.client), place(line.server)

    def ask(sport: int, flags: str) -> Any:
        return line.ask(segment(sport, port, flags))

    def answer(sport: int, flags: str) -> Any:
        return line.answer(segment(port, sport, flags))
    yield legit('%s: SYN to %d' % (line, port), client, there, ask(4030, 'S'), ask(4030, 'SEC'))
    yield legit('%s: %d answers' % (line, port), server, here, answer(4031, 'SA'), steps=[
        (client, ask(4031, 'S'))])
    yield legit('%s: %d refuses' % (line, port), server, here, answer(4032, 'RA'), steps=[
        (client, ask(4032, 'S'))])
    yield legit('%s: the connection to %d' % (line, port), client, there, ask(4033, 'A'),
                ask(4033, 'PA'), ask(4033, 'R'), steps=line.handshake(4033, port))
    yield legit('%s: the connection from %d' % (line, port), server, here, answer(4034, 'A'),
                answer(4034, 'PA'), answer(4034, 'R'), steps=line.handshake(4034, port))
    yield legit('%s: the end of the connection to %d' % (line, port), server, here, answer(
        4035, 'FA'), steps=line.handshake(4035, port) + [(client, ask(4035, 'FA'))])
    about = ask(4036, 'S')
    yield legit('%s: errors about a segment to %d' % (line, port), server, here, *errors(
        line, about, False), steps=[(client, about)])


def unbegun(w: Parties) -> Iterator[Case]:
    """What nobody may begin, and what belongs to nothing that was begun."""
    for client, server in DIRECTED:
        for line in lines(w, client, server):
            yield from _against_the_direction(line)
    for client, server, port in (*SERVED, ('ward', 'gw', 443), ('evil', 'ward', 80)):
        for line in lines(w, client, server):
            yield from _of_no_connection(line, port)
    for line in lines(w, 'gw', 'ward'):
        yield attack('%s: other services' % str(line), 'gw', *(line.ask(payload) for payload in (
            segment(4040, 80, 'S'), segment(22, 4040, 'S'), UDP(sport=4040, dport=22) / b'word',
            UDP(sport=53, dport=4040) / b'word')),
            line.ask(ICMP(type=13)) if line.version == 4 else ping6(w['gw'], w['ward']))


def _against_the_direction(line: Line) -> Iterator[Case]:
    client, server = line.client.name, line.server.name
    echo = (ICMP(type=13, id=9), ICMP(type=0, id=9)) if line.version == 4 else (
        ping6(line.server, line.client)[IPv6].payload, ICMPv6EchoReply(data=b'ping', id=9))
    yield attack('%s: the other way' % str(line), server, *(line.answer(payload) for payload in (
        segment(4050, 80, 'S'), UDP(sport=4051, dport=4050) / b'word', *echo)),
        line.answer(Raw(SCTP_HEADER), **line.raw(132)), line.answer(Raw(bytes(30)), **line.raw(47)))
    split = split4 if line.version == 4 else split6
    for what, say in (('asks', line.ask), ('answers', line.answer)):
        whole = say(UDP(sport=4066, dport=4066) / bytes(100))
        yield attack('%s: %s in fragments' % (str(line), what), client if say == line.ask else
                     server, *split(whole, 64), steps=[
                         (client, line.ask(UDP(sport=4066, dport=4066) / b'word'))])
    asked = line.ask(UDP(sport=4052, dport=4053) / b'word')
    yield attack('%s: an answer to another port' % str(line), server, line.answer(
        UDP(sport=4053, dport=4054) / b'word'), steps=[(client, asked)])
    yield attack('%s: an answer from another port' % str(line), server, line.answer(
        UDP(sport=4055, dport=4052) / b'word'), steps=[(client, asked)])
    # what it asks itself is not let through, so nothing answers that
    own = line.answer(UDP(sport=4056, dport=4057) / b'word')
    yield attack('%s: asks, and asks again' % str(line), server, own, steps=[(server, own)])
    yield attack('%s: errors about nothing' % str(line), server, *errors(
        line, line.ask(UDP(sport=4058, dport=4059) / b'word'), False))


def _of_no_connection(line: Line, port: int) -> Iterator[Case]:
    client, server = line.client.name, line.server.name
    yield attack('%s: forged from %d' % (line, port), server, *(
        line.answer(segment(port, 4060, flags)) for flags in FORGED))
    yield attack('%s: of no connection to %d' % (line, port), client, *(
        line.ask(segment(4061, port, flags)) for flags in MIDSTREAM))
    yield attack('%s: SYN from %d' % (line, port), server, *(
        line.answer(segment(port, 4062, flags)) for flags in ('S', 'SE', 'SF', 'SP')),
        may='uplink' if server == 'ward' and place(line.client) == 'uplink' else ())
    yield attack('%s: from %d to another port' % (line, port), server, *(
        line.answer(segment(port, 4064, flags)) for flags in FORGED), steps=[
            (client, line.ask(segment(4063, port, 'S')))])
    if client not in ('svc1', 'svc2'):      # whose rules have ICMP as a whole
        yield attack('%s: errors about no connection to %d' % (line, port), server, *errors(
            line, line.ask(segment(4065, port, 'A')), False))


Table = Callable[[Parties], Iterator[Case]]
LEGIT: Mapping[str, Table] = {'connections': begun}
ATTACKS: Mapping[str, Table] = {'connections': unbegun}
