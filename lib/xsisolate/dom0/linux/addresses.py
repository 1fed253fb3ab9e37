"""Dom0's own addresses: is it reached through this device?"""
import fcntl
from _socket import AF_INET, SOCK_DGRAM, inet_ntoa, socket
from struct import Struct

from xsisolate.typing_compat import List

SIOCGIFADDR = 0x8915
REQUEST = Struct('=16sH2x4s16x')        # struct ifreq with a sockaddr_in: name, family, address
IF_INET6 = '/proc/net/if_inet6'
SCOPE_GLOBAL = '00'


def find_addresses(dev: str) -> List[str]:
    """Return a device's IPv4 address and its global IPv6 addresses, none if it has none."""
    return _ipv4(dev) + _ipv6(dev)


def _ipv4(dev: str) -> List[str]:
    control = socket(AF_INET, SOCK_DGRAM)
    try:
        answer = fcntl.ioctl(control.fileno(), SIOCGIFADDR,
                             REQUEST.pack(dev.encode('ascii', 'replace')[:15], 0, b''))
    except OSError:
        return []           # it has none, or there is no such device
    finally:
        control.close()
    return [inet_ntoa(REQUEST.unpack(answer)[2])]


def _ipv6(dev: str) -> List[str]:
    try:
        with open(IF_INET6) as file:
            rows = [line.split() for line in file]
    except OSError:
        return []           # a Dom0 without IPv6
    return ['%s/%d' % (':'.join(row[0][at:at + 4] for at in range(0, 32, 4)), int(row[2], 16))
            for row in rows if row[5] == dev and row[3] == SCOPE_GLOBAL]
