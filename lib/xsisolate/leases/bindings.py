"""One VIF's bindings, as RFC 7513 has them: a pure state machine.

    NO_BIND ── the VIF asks ──► INIT_BIND ── a server leases ──► BOUND ──┐ renewed
       ▲                            │ denied, or too late          ▲     │
       └────────────────────────────┴── denied, released, ended ───┴─────┘

An exchange that the VIF has begun is INIT_BIND, a lease is BOUND. Time is the caller's.
"""
from typing import Callable, Dict, Mapping, NamedTuple, Tuple

from xsisolate.leases.messages import Grant, Message, Verb
from xsisolate.policy.leases import LEASES_MAX, Lease
from xsisolate.policy.model import Prefix

EXCHANGE_S = 120.0          # how long an answer may take: RFC 7513, MAX_DHCP_RESPONSE_TIME
EXCHANGES_MAX = 8           # of one VIF: the oldest is forgotten

Refuse = Callable[[Prefix], str]        # why an address cannot be a VIF's; '' if it can


class Exchange(NamedTuple):
    """A conversation that a VIF has begun."""

    began: float
    addresses: Tuple[Prefix, ...]       # that it has asked for


class Bindings(NamedTuple):
    """What is known of one VIF."""

    exchanges: Mapping[bytes, Exchange] = {}
    leases: Mapping[Prefix, Lease] = {}


class Heard(NamedTuple):
    """What came of a message."""

    bindings: Bindings
    refused: Mapping[Prefix, str] = {}      # leases that do not count, and why


def hear(known: Bindings, message: Message, now: float, refuse: Refuse) -> Heard:
    """Return a VIF's bindings after a message of it, or to it."""
    known = expire(known, now)
    if message.verb is Verb.ASK:
        return Heard(known._replace(exchanges=_begin(known.exchanges, message, now)))
    if message.verb is Verb.RELEASE:
        return Heard(_without(known, message.addresses))
    exchange = known.exchanges.get(message.exchange)
    if exchange is None:
        return Heard(known)         # nobody has asked
    known = known._replace(exchanges={key: one for key, one in known.exchanges.items()
                                      if key != message.exchange})
    if message.verb is Verb.DENY:
        return Heard(_without(known, exchange.addresses))
    refused: Dict[Prefix, str] = {}
    for grant in message.grants:
        known, reason = _lease(known, grant, message.server, now, refuse)
        refused.update({grant.address: reason} if reason else {})
    return Heard(known, refused)


def expire(known: Bindings, now: float) -> Bindings:
    """Return bindings without what has ended."""
    return Bindings({key: one for key, one in known.exchanges.items()
                     if 0 <= now - one.began < EXCHANGE_S},
                    {address: lease for address, lease in known.leases.items()
                     if now < lease.end})


def _begin(exchanges: Mapping[bytes, Exchange], message: Message,
           now: float) -> Mapping[bytes, Exchange]:
    """Return the exchanges with one more, which an earlier one of that name may have begun."""
    others = [(key, one) for key, one in exchanges.items() if key != message.exchange]
    return dict(others[-EXCHANGES_MAX + 1:]
                + [(message.exchange, Exchange(now, message.addresses))])


def _without(known: Bindings, addresses: Tuple[Prefix, ...]) -> Bindings:
    return known._replace(leases={address: lease for address, lease in known.leases.items()
                                  if address not in addresses})


def _lease(known: Bindings, grant: Grant, server: str, now: float,
           refuse: Refuse) -> Tuple[Bindings, str]:
    """Return bindings with a lease, or why it does not count."""
    others = _without(known, (grant.address,))
    if not grant.seconds:
        return others, ''
    reason = refuse(grant.address)
    if reason:
        return others, reason
    leases = dict(others.leases)
    while len(leases) >= LEASES_MAX:        # the VIF's own, and nobody else's
        del leases[min(leases, key=lambda address: (leases[address].until, address))]
    leases[grant.address] = Lease(grant.address, int(now) + grant.seconds, server)
    return known._replace(leases=leases), ''
