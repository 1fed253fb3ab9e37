"""Services: `tcp/22`, `icmp/8`, `esp`, `ip/89`, `tftp`. What may be said, in its only spelling.

A protocol goes by its name if it has one here, else by its number: one meaning has one spelling,
which seals and flows rely on. A rule is a service, and who may begin: `out:tcp/443`, `in:tcp/22`.
"""
import re

from xsisolate.errors import PolicyError
from xsisolate.policy.address import quoted
from xsisolate.policy.model import ANYTHING, EITHER, IN, MAX_PORT, OUT, Service
from xsisolate.typing_compat import Dict, Tuple

# IP's numbers of the protocols that have a name here.
NUMBERS = {'icmp': 1, 'tcp': 6, 'udp': 17, 'gre': 47, 'esp': 50, 'ah': 51, 'icmp6': 58,
           'sctp': 132}
NAMES = {number: name for name, number in NUMBERS.items()}
TFTP = 'tftp'               # UDP to port 69, and what conntrack's helper knows to belong to it
TFTP_PORT = 69
WITH_PORTS = ('tcp', 'udp', 'sctp')
WITH_TYPES = ('icmp', 'icmp6')
# Protocols of one IP version only. In IPv6 the switch looks behind an authentication header.
VERSIONS = {'icmp': 4, 'ah': 4, 'icmp6': 6}
# Headers of IPv6 that the switch looks behind, so that no packet is of their number.
EXTENSIONS = (0, 43, 44, 60)
MAX_PROTOCOL, MAX_TYPE = 254, 255

# Queries that have an answer of another type. The answer belongs to the query's service: it says
# no more than a query would, which the peer may send as well.
ICMP_ANSWERS: Dict[str, Dict[int, int]] = {'icmp': {8: 0, 13: 14}, 'icmp6': {128: 129}}
PINGS = {'icmp': 8, 'icmp6': 128}
# What no service can allow: redirects lead to strangers, and neighbours and routers are found by
# flows of their own.
ICMP_REFUSED = {'icmp': (5,), 'icmp6': tuple(range(133, 138))}

EVERYTHING = 'everything'       # what a rule with a direction says of all protocols
DIRECTION = re.compile('(%s|%s):(.*)' % (OUT, IN))

SERVICE = re.compile('(tcp|udp|sctp)(?:/([0-9]{1,5})(?:-([0-9]{1,5}))?)?'
                     '|(?:(icmp6?)|(ip))/([0-9]{1,3})|(icmp6?|gre|esp|ah|tftp)')


def split_direction(text: str) -> Tuple[str, str]:
    """Return who may begin, and the rest.

    >>> split_direction('out:tcp/443'), split_direction('fd00::1')
    (('out', 'tcp/443'), ('', 'fd00::1'))
    """
    match = DIRECTION.fullmatch(text)
    return (match.group(1), match.group(2)) if match else (EITHER, text)


def parse_rule(text: str) -> Service:
    """Return what members of a group may say: a service, `out:tcp/443` or `in:everything`."""
    direction, what = split_direction(text)
    if direction and what == EVERYTHING:
        return anything(direction)
    return parse_service(what)._replace(direction=direction)


def anything(direction: str) -> Service:
    """Return the service of all protocols."""
    return Service(ANYTHING, direction=direction)


def parse_service(text: str) -> Service:
    """Return what `tcp/22`, `udp/8000-8100`, `tcp`, `icmp/8`, `esp` or `ip/89` allows.

    A protocol as a whole has the ports 0 to 65535.

    >>> parse_service('ip/50').protocol
    'esp'
    """
    match = SERVICE.fullmatch(text)
    if not match:
        raise PolicyError('%s is not a service (tcp/22, udp/8000-8100, sctp/3868, tcp, udp, sctp, '
                          'icmp, icmp6, icmp/8, icmp6/128, gre, esp, ah, ip/89 or tftp)'
                          % quoted(text))
    ported, first, last, icmp, by_number, number, whole = match.groups()
    if any(part and part != str(int(part)) for part in (first, last, number)):
        raise PolicyError('%s has leading zeros in %s' % (
            quoted(text), 'a port' if ported else 'a number'))
    if by_number:
        return _by_number(int(number), text)
    if icmp:
        return _icmp_type(icmp, int(number), text)
    if first is None:
        return Service(ported or whole)
    service = Service(ported, int(first), int(last or first))
    if not 1 <= service.first <= service.last <= MAX_PORT:
        raise PolicyError('%s needs ports from 1 to %d, the lower one first'
                          % (quoted(text), MAX_PORT))
    return service


def _by_number(number: int, text: str) -> Service:
    if number in EXTENSIONS:
        raise PolicyError('%s can match nothing: that is a header of IPv6, which the switch looks '
                          'behind' % quoted(text))
    if number > MAX_PROTOCOL:
        raise PolicyError('%s needs a protocol from 1 to %d' % (quoted(text), MAX_PROTOCOL))
    return Service(NAMES.get(number, 'ip/%d' % number))


def _icmp_type(protocol: str, kind: int, text: str) -> Service:
    if kind > MAX_TYPE:
        raise PolicyError('%s needs a type from 0 to %d' % (quoted(text), MAX_TYPE))
    if kind in ICMP_REFUSED[protocol]:
        raise PolicyError('%s cannot be a service: %s' % (quoted(text), (
            'a redirect would lead to strangers' if protocol == 'icmp' else 'neighbours and '
            'routers are found without it, and redirects would lead to strangers')))
    return Service(protocol, kind, kind)


def is_whole(service: Service) -> bool:
    """Tell whether a service is its protocol as a whole."""
    return (service.first, service.last) == (0, MAX_PORT)


def format_service(service: Service) -> str:
    """Return a service as vm-data writes it, in its only spelling, without its direction.

    >>> format_service(Service('tcp', 22, 22)), format_service(Service('udp', 1, 9))
    ('tcp/22', 'udp/1-9')
    """
    if service.protocol == ANYTHING:
        return EVERYTHING
    if is_whole(service):
        return service.protocol
    ports = '%d' % service.first if service.first == service.last else '%d-%d' % service[1:3]
    return '%s/%s' % (service.protocol, ports)


def format_direction(service: Service) -> str:
    """Return what stands before a service or an entry: `out:`, `in:` or nothing."""
    return service.direction and service.direction + ':'


def format_rule(service: Service) -> str:
    """Return a service with its direction.

    >>> format_rule(Service('tcp', 22, 22, 'in'))
    'in:tcp/22'
    """
    return format_direction(service) + format_service(service)


def protocol_number(protocol: str) -> int:
    """Return IP's number of a service's protocol."""
    return NUMBERS[protocol] if protocol in NUMBERS else int(protocol.partition('/')[2])


def icmp_answer(protocol: str, kind: int) -> int:
    """Return the type that answers an ICMP type: the same if it has none."""
    return ICMP_ANSWERS[protocol].get(kind, kind)
