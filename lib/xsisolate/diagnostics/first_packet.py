"""The first packet of a service that an admin names."""
from typing import Tuple

from xsisolate.errors import PolicyError, UsageError
from xsisolate.policy.address import quoted
from xsisolate.policy.admission import Talk
from xsisolate.policy.service import (PINGS, TFTP, TFTP_PORT, VERSIONS, WITH_PORTS, is_whole,
                                      parse_service)

CLIENT_PORT = 40000


def parse_talk(text: str) -> Tuple[Talk, int]:
    """Return what is said, and the IP version if that follows from it."""
    if not text:
        return Talk(''), 0
    try:
        service = parse_service(text)
    except PolicyError as error:
        raise UsageError(str(error)) from None
    version = VERSIONS.get(service.protocol, 0)
    if service.protocol == TFTP:
        return Talk('udp', CLIENT_PORT, TFTP_PORT, related=True), 0
    if service.protocol in PINGS and not is_whole(service):
        if not service.first:
            raise UsageError('%s: that type is an answer: ask for %s/%d' % (
                quoted(text), service.protocol, PINGS[service.protocol]))
        return Talk(service.protocol, 0, service.first), version
    if service.protocol not in WITH_PORTS:
        return Talk(service.protocol), version
    if service.first != service.last:
        raise UsageError('%s: expected one port, such as %s/443' % (quoted(text), service.protocol))
    return Talk(service.protocol, CLIENT_PORT, service.first), 0
