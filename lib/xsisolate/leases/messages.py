"""DHCP's messages, of both IP versions, in the terms of a binding table.

Of each message only that is kept which RFC 7513 lets create, extend or end a binding. A message
that is cut off, says something twice or contradicts itself says nothing.
"""
from enum import Enum
from struct import Struct
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from xsisolate.leases.frame import Datagram, format_mac
from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import Prefix

CLIENT4, SERVER4, CLIENT6, SERVER6 = 68, 67, 546, 547
QUERIES = ((CLIENT4, SERVER4), (CLIENT6, SERVER6))
ANSWERS = ((SERVER4, CLIENT4), (SERVER6, CLIENT6))
LONGEST_S = 10 * 365 * 86400        # infinity is ten years


class Verb(Enum):
    """What a message says."""

    ASK = 'ask'             # a client begins an exchange, or goes on with it
    RELEASE = 'release'     # ... gives addresses back, or has found them in use
    LEASE = 'lease'         # a server leases addresses
    DENY = 'deny'           # ... refuses those that the client has asked for


class Grant(NamedTuple):
    """An address and for how many seconds; 0: no longer."""

    address: Prefix
    seconds: int


class Message(NamedTuple):
    """A message of a client, or to one."""

    verb: Verb
    mac: str                            # the client's
    exchange: bytes                     # what connects an answer with its question
    addresses: Tuple[Prefix, ...] = ()  # that are asked for, or given back
    grants: Tuple[Grant, ...] = ()
    server: str = ''


def parse_message(datagram: Datagram) -> Optional[Message]:
    """Return what a datagram says, None if nothing that a binding depends on."""
    known = {4: (QUERIES[0], ANSWERS[0]), 6: (QUERIES[1], ANSWERS[1])}[datagram.version]
    if datagram.ports not in known:
        return None
    asks = datagram.ports == known[0]
    try:
        return _parse4(datagram, asks) if datagram.version == 4 else _parse6(datagram, asks)
    except ValueError:
        return None


# --- DHCP for IPv4: RFC 2131, 2132 -----------------------------------------------------------

BOOTP = Struct('!BBBBIHH4s4s4s4s16s64s128sI')
# op, htype, hlen, hops, xid, secs, flags; ciaddr, yiaddr, siaddr, giaddr, chaddr; sname, file,
# cookie
BOOTREQUEST, BOOTREPLY, ETHERNET, COOKIE = 1, 2, 1, 0x63825363
PAD, REQUESTED, LEASE_TIME, OVERLOAD, KIND, SERVER_ID, END = 0, 50, 51, 52, 53, 54, 255
WANTED = {REQUESTED: 4, LEASE_TIME: 4, OVERLOAD: 1, KIND: 1, SERVER_ID: 4}      # and their lengths
DISCOVER, REQUEST, DECLINE, ACK, NAK, RELEASE = 1, 3, 4, 5, 6, 7


def _parse4(datagram: Datagram, asks: bool) -> Optional[Message]:
    data = datagram.payload
    if len(data) < BOOTP.size:
        return None
    (op, htype, hlen, _, xid, _, _, current, yours, _, _, chaddr, sname, file,
     cookie) = BOOTP.unpack_from(data)
    if (htype, hlen, cookie, op) != (ETHERNET, 6, COOKIE, BOOTREQUEST if asks else BOOTREPLY):
        return None
    options = _options4(data[BOOTP.size:])
    overload = options.get(OVERLOAD, b'\0')[0]
    for bit, field in ((1, file), (2, sname)):
        if overload & bit:
            _add(options, _options4(field, nested=True))
    kind = options.get(KIND, b'\0')[0]
    message = Message(Verb.ASK, format_mac(chaddr[:6]), b'4' + xid.to_bytes(4, 'big'))
    asked = _addresses4(options.get(REQUESTED, b''), current)
    if asks:
        if message.mac != datagram.eth_source:
            return None         # it asks for another, as a relay would
        if kind in (DISCOVER, REQUEST):
            return message._replace(addresses=asked)
        if kind == RELEASE:
            return message._replace(verb=Verb.RELEASE, addresses=_addresses4(current))
        if kind == DECLINE:
            return message._replace(verb=Verb.RELEASE, addresses=asked)
        return None
    server = _addresses4(options.get(SERVER_ID, b''))
    message = message._replace(server=format_prefix(server[0]) if server else datagram.source)
    if kind == NAK:
        return message._replace(verb=Verb.DENY)
    if kind != ACK or LEASE_TIME not in options or not any(yours):
        return None             # an offer; or the answer to INFORM
    seconds = min(int.from_bytes(options[LEASE_TIME], 'big'), LONGEST_S)
    if not seconds:
        return None
    return message._replace(verb=Verb.LEASE, grants=tuple(
        Grant(address, seconds) for address in _addresses4(yours)))


def _addresses4(*found: bytes) -> Tuple[Prefix, ...]:
    """Return those of the addresses that are there and not 0.0.0.0."""
    return tuple(Prefix(4, int.from_bytes(one, 'big'), 32) for one in found if any(one))


def _options4(data: bytes, nested: bool = False) -> Dict[int, bytes]:
    """Return the options that count; raise ValueError if any is cut off, odd or there twice."""
    found: Dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != END:
        code = data[at]
        at += 1
        if code == PAD:
            continue
        if at >= len(data) or at + 1 + data[at] > len(data):
            raise ValueError('cut off')
        value = data[at + 1:at + 1 + data[at]]
        at += 1 + len(value)
        if code in WANTED:
            if len(value) != WANTED[code] or nested and code == OVERLOAD:
                raise ValueError('odd')
            _add(found, {code: value})
    return found


def _add(options: Dict[int, bytes], more: Dict[int, bytes]) -> None:
    if not options.keys().isdisjoint(more):
        raise ValueError('there twice')
    options.update(more)


# --- DHCP for IPv6: RFC 8415 -----------------------------------------------------------------

OPTION6 = Struct('!HH')
CLIENT_ID, IA_NA, IA_ADDRESS, STATUS = 1, 3, 5, 13
IA_NA_HEAD, IA_ADDRESS_HEAD = 12, Struct('!16sII')      # IAID and times; address and lifetimes
SOLICIT, REQUEST6, CONFIRM, RENEW, REBIND, REPLY, RELEASE6, DECLINE6 = 1, 3, 4, 5, 6, 7, 8, 9
ASKING = (SOLICIT, REQUEST6, CONFIRM, RENEW, REBIND)
SUCCESS, NOT_ON_LINK = 0, 4
DUID_MAX = 130


def _parse6(datagram: Datagram, asks: bool) -> Optional[Message]:
    data = datagram.payload
    kind, options = data[:1], _options6(data[4:]) if len(data) >= 4 else []
    clients = [value for code, value in options if code == CLIENT_ID]
    if len(clients) != 1 or not 2 < len(clients[0]) <= DUID_MAX:
        return None
    leases = [one for code, value in options if code == IA_NA for one in _leases6(value)]
    exchange = b'6' + data[1:4] + clients[0]
    addresses = tuple(grant.address for grant in leases)
    if asks:
        if kind[0] not in ASKING + (RELEASE6, DECLINE6):
            return None
        verb = Verb.ASK if kind[0] in ASKING else Verb.RELEASE
        return Message(verb, datagram.eth_source, exchange, addresses)
    if kind[0] != REPLY:
        return None
    message = Message(Verb.LEASE, datagram.eth_target, exchange, server=datagram.source)
    status = _status(options)
    if status == NOT_ON_LINK:
        return message._replace(verb=Verb.DENY)
    return message._replace(grants=tuple(leases)) if status == SUCCESS and leases else None


def _leases6(association: bytes) -> Iterator[Grant]:
    """Yield the addresses of an IA_NA that its server vouches for."""
    if len(association) < IA_NA_HEAD:
        raise ValueError('cut off')
    options = _options6(association[IA_NA_HEAD:])
    if _status(options) != SUCCESS:
        return
    for code, value in options:
        if code == IA_ADDRESS:
            if len(value) < IA_ADDRESS_HEAD.size:
                raise ValueError('cut off')
            address, _, valid = IA_ADDRESS_HEAD.unpack_from(value)
            if _status(_options6(value[IA_ADDRESS_HEAD.size:])) == SUCCESS:
                yield Grant(Prefix(6, int.from_bytes(address, 'big'), 128), min(valid, LONGEST_S))


def _status(options: List[Tuple[int, bytes]]) -> int:
    found = [int.from_bytes(value[:2], 'big') if len(value) >= 2 else -1
             for code, value in options if code == STATUS]
    return max(found, default=SUCCESS, key=abs)


def _options6(data: bytes) -> List[Tuple[int, bytes]]:
    """Return options; raise ValueError if one is cut off."""
    found, at = [], 0
    while at < len(data):
        if at + OPTION6.size > len(data):
            raise ValueError('cut off')
        code, length = OPTION6.unpack_from(data, at)
        at += OPTION6.size
        if at + length > len(data):
            raise ValueError('cut off')
        found.append((code, data[at:at + length]))
        at += length
    return found
