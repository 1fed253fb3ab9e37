"""Addresses that DHCP servers have leased to a VIF: what is kept of them, and which count.

What is kept is a line of JSON, the same in a Dom0 file and in VIF.other_config: it goes where the
VIF goes. It is written by Dom0 alone, and read as strictly as if it were not.
"""
import json

from xsisolate.errors import PolicyError
from xsisolate.policy.address import (BITS, LINK_LOCAL, check_own, contains, format_prefix,
                                      parse_mac, parse_prefix, quoted)
from xsisolate.policy.model import Network, Prefix
from xsisolate.typing_compat import Any, Iterable, List, Mapping, NamedTuple, Optional, Tuple

VERSION = 1
# In VIF.other_config; one is written before the other is taken away, so that it is never without.
KEYS = ('xsisolate-leases', 'xsisolate-leases-1')
LEASES_MAX = 16             # of one VIF, of both IP versions together
SIZE_LIMIT = 4096           # bytes
ALLOWANCE_S = 30            # a lease counts that much longer: clocks differ, daemons are busy
# What other hosts have of a lease is not written anew at each renewal: it counts that much longer.
CARRIED_S = 3600
END_OF_TIME = 1 << 40       # more seconds than any lease lasts


class Lease(NamedTuple):
    """An address that a server has leased to a VIF."""

    address: Prefix         # a single one
    until: int              # seconds since 1970
    server: str             # which server said so, for an admin's eyes
    longer: int = ALLOWANCE_S       # so many seconds it counts beyond its end

    @property
    def end(self) -> int:
        """When it no longer counts."""
        return self.until + self.longer


class LeaseRecord(NamedTuple):
    """All leases of a VIF, as of one moment."""

    mac: str                # whose they are: a copy of the VIF with another one has none of them
    at: int                 # when this was true, in milliseconds since 1970: the newest counts
    leases: Tuple[Lease, ...] = ()
    vif: str = ''           # XAPI's uuid of the VIF


def format_record(record: LeaseRecord, carried: bool = False) -> str:
    """Return what is kept, in one line; `carried`: in VIF.other_config."""
    return json.dumps({'version': VERSION, 'vif': record.vif, 'mac': record.mac, 'at': record.at,
                       'leases': [_describe(lease, carried) for lease in sorted(record.leases)]},
                      sort_keys=True)


def _describe(lease: Lease, carried: bool) -> List[Any]:
    fields: List[Any] = [format_prefix(lease.address), lease.until, lease.server]
    return fields if carried or lease.longer == ALLOWANCE_S else [*fields, lease.longer]


def parse_record(text: str) -> LeaseRecord:
    """Return what a line says, or raise PolicyError."""
    try:
        if len(text) > SIZE_LIMIT:
            raise ValueError('larger than %d bytes' % SIZE_LIMIT)
        content = json.loads(text)
        if not isinstance(content, dict) or content.get('version') != VERSION:
            raise ValueError('not leases of version %d' % VERSION)
        leases = content['leases']
        if not isinstance(leases, list) or len(leases) > LEASES_MAX:
            raise ValueError('leases: not a list of %d at most' % LEASES_MAX)
        return LeaseRecord(parse_mac(str(content['mac'])), _number(content['at']),
                           tuple([_parse_lease(*lease) for lease in leases]),
                           str(content.get('vif', '')))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PolicyError('leases cannot be read: %s' % quoted(str(error))) from None


def _parse_lease(address: Any, until: Any, server: Any, longer: Any = ALLOWANCE_S) -> Lease:
    prefix = parse_prefix(str(address))
    if prefix.length != BITS[prefix.version]:
        raise ValueError('a lease is a single address')
    return Lease(check_own(prefix), _number(until), str(server)[:64],
                 min(_number(longer), CARRIED_S))


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < END_OF_TIME * 1000:
        raise ValueError('not a time: %.40r' % (value,))
    return value


def find_carried(other_config: Mapping[str, str], mac: str) -> Optional[LeaseRecord]:
    """Return the leases that a VIF's other_config carries; None: none that can be read."""
    found = newest([record for key in KEYS if key in other_config
                    for record in _try_to_parse(other_config[key])], mac)
    return found and found._replace(leases=tuple([
        lease._replace(longer=CARRIED_S) for lease in found.leases]))


def _try_to_parse(text: str) -> List[LeaseRecord]:
    try:
        return [parse_record(text)]
    except PolicyError:
        return []


def newest(records: Iterable[LeaseRecord], mac: str) -> Optional[LeaseRecord]:
    """Return the newest record that is about a VIF with this MAC address."""
    found: Optional[LeaseRecord] = None
    for record in records:
        if record.mac == mac and (found is None or record.at > found.at):
            found = record
    return found


def current(record: Optional[LeaseRecord], now: float) -> Tuple[Lease, ...]:
    """Return the leases that have not ended."""
    return tuple([lease for lease in record.leases if now < lease.end] if record else [])


def must_carry(record: LeaseRecord, carried: Optional[LeaseRecord], now: float) -> bool:
    """Tell whether VIF.other_config has to be written: not at each renewal.

    What it carries must count until the VIF's next renewal, at half of its time, and beyond.
    """
    known = {lease.address: lease for lease in current(carried, now)}
    wanted = {lease.address: lease for lease in current(record, now)}
    return known.keys() != wanted.keys() or any(
        known[address].end - now < (lease.until - now) * 3 / 4
        for address, lease in wanted.items())


def refuse(address: Prefix, network: Network) -> str:
    """Return why no lease on a network can be of an address; '' if one can."""
    try:
        check_own(address)
    except PolicyError as error:
        return str(error)
    if contains(LINK_LOCAL, address):
        return 'link-local addresses are not leased'
    inside = [subnet for subnet in network.subnets if subnet.version == address.version]
    if inside and not any(contains(subnet, address) for subnet in inside):
        return 'it is in none of the network\'s subnets'
    for gateway in network.gateways:
        if address in (gateway.ipv4, gateway.ipv6):
            return 'it is a gateway\'s'
    if address in network.dhcp_servers:
        return 'it is a DHCP server\'s'
    if any(address in holder.addresses for holder in network.holders):
        return 'it is that of a VIF that holds a role'
    return ''
