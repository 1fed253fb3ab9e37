"""Network devices of VIFs: netdevice(7) ioctls instead of half a dozen `ip` processes."""
import errno
import fcntl
import os
import re
from struct import Struct
from struct import error as StructError

from xsisolate.dom0.linux.process import CommandFailed, run
from xsisolate.errors import HostError
from xsisolate.quick_imports import AF_INET, SOCK_DGRAM, inet_ntoa, socket
from xsisolate.typing_compat import Iterator, List, Mapping, Sequence, Tuple

NAME = re.compile(r'(vif|tap)[0-9]{1,5}\.[0-9]{1,5}')
MAC = re.compile(r'[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}')
ETHTOOL = '/sbin/ethtool'
ETHTOOL_OPTIONS = frozenset(('rx', 'tx', 'sg', 'tso', 'ufo', 'gso'))
IF_INET6 = '/proc/net/if_inet6'
SCOPE_GLOBAL = '00'     # there
NET_CLASS = '/sys/class/net'
NO_IPV6 = '/proc/sys/net/ipv6/conf/%s/disable_ipv6'

# linux/sockios.h, linux/if.h
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
SIOCGIFADDR, SIOCSIFADDR = 0x8915, 0x8916
SIOCSIFMTU = 0x8922
SIOCSIFHWADDR = 0x8924
SIOCGIFINDEX = 0x8933
IFF_UP, IFF_NOARP, IFF_MULTICAST = 0x1, 0x80, 0x1000
ARPHRD_ETHER = 1
IFNAMSIZ = 16
# struct ifreq: a name, and a union of 24 bytes that starts with ...
FLAGS = Struct('=16sH22x')
NUMBER = Struct('=16si20x')
ADDRESS = Struct('=16sH14s8x')      # a sockaddr
INET_ADDRESS = Struct('=16sH2x4s16x')   # a sockaddr_in
ADDRESSES_MAX = 64                  # addresses that we remove before we give up


def is_linux_bridge(name: str) -> bool:
    """Tell whether the kernel itself switches a network."""
    return bool(name) and os.path.isdir('%s/%s/bridge' % (NET_CLASS, name))


def list_linux_bridges() -> List[str]:
    """Return the bridges that the kernel itself switches."""
    try:
        return sorted(filter(is_linux_bridge, os.listdir(NET_CLASS)))
    except OSError as error:
        raise HostError('%s: %s' % (NET_CLASS, error.strerror)) from error


def exists(dev: str) -> bool:
    """Say whether there is such a device."""
    try:
        _ioctl(dev, SIOCGIFINDEX, NUMBER, 0)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return False
        raise _failure(dev, 'look up', error) from error
    return True


def ifindex(dev: str) -> int:
    """Return the kernel's number of the device."""
    return _get(dev, SIOCGIFINDEX, NUMBER, 'look up')


def is_up(dev: str) -> bool:
    """Say whether the link is up, as far as Dom0 has a say."""
    return bool(_get(dev, SIOCGIFFLAGS, FLAGS, 'read flags') & IFF_UP)


def set_up(dev: str) -> None:
    """Let frames pass."""
    _change_flags(dev, IFF_UP, 0)


def set_down(dev: str) -> None:
    """Let no frame pass."""
    _change_flags(dev, 0, IFF_UP)


def set_mtu(dev: str, mtu: int) -> None:
    """Set the MTU."""
    _set(dev, SIOCSIFMTU, NUMBER, mtu, 'set MTU %d' % mtu)


def prepare(dev: str, address: str, mtu: int) -> None:
    """Make the device a mere wire into the bridge: down, with no address of Dom0's.

    Without IPv6 on it Dom0 has no link-local address there, which the guest
    could talk to while the device is on no bridge.
    """
    if not MAC.fullmatch(address):
        raise HostError('%s: not a MAC address: %.40r' % (dev, address))
    _change_flags(dev, IFF_NOARP, IFF_UP | IFF_MULTICAST)
    _set_address(dev, bytes.fromhex(address.replace(':', '')))
    _disable_ipv6(dev)
    _flush_ipv4(dev)
    set_mtu(dev, mtu)


def ethtool(dev: str, settings: Mapping[str, str]) -> None:
    """Switch offloads on or off; HostError names those that failed, the others are set."""
    _check_name(dev)
    wrong = {key: value for key, value in settings.items()
             if key not in ETHTOOL_OPTIONS or value not in ('on', 'off')}
    good = [(key, value) for key, value in sorted(settings.items()) if key not in wrong]
    refused = ['%s=%s: not an offload and on or off' % item for item in sorted(wrong.items())]
    try:
        if good:
            run([ETHTOOL, '-K', dev] + [word for setting in good for word in setting])
    except CommandFailed as error:
        # It stops at the first that the device cannot do: each has to be asked alone.
        refused += [str(error)] if len(good) == 1 else list(_ethtool_each(dev, good))
    if refused:
        raise HostError('%s: %s' % (dev, '; '.join(refused)))


def _ethtool_each(dev: str, settings: Sequence[Tuple[str, str]]) -> Iterator[str]:
    """Make one setting at a time; yield what the program says of those it refuses."""
    for setting in settings:
        try:
            run((ETHTOOL, '-K', dev) + setting)
        except CommandFailed as error:
            yield str(error)


def _change_flags(dev: str, add: int, remove: int) -> None:
    """Set and clear interface flags; no call when they are as they should be."""
    flags = _get(dev, SIOCGIFFLAGS, FLAGS, 'read flags')
    wanted = flags & ~remove | add
    if wanted != flags:
        _set(dev, SIOCSIFFLAGS, FLAGS, wanted, 'set flags')


def _set_address(dev: str, address: bytes) -> None:
    """Set the device's own MAC."""
    try:
        _ioctl(dev, SIOCSIFHWADDR, ADDRESS, ARPHRD_ETHER, address)
    except OSError as error:
        raise _failure(dev, 'set address', error) from error


def _disable_ipv6(dev: str) -> None:
    """Remove all IPv6 addresses and let no new one come."""
    try:
        with open(NO_IPV6 % dev, 'w') as switch:
            switch.write('1')
    except FileNotFoundError:
        pass        # a Dom0 without IPv6
    except OSError as error:
        raise _failure(dev, 'disable IPv6', error) from error


def _flush_ipv4(dev: str) -> None:
    """Remove all IPv4 addresses, one by one: setting 0.0.0.0 takes the first away."""
    for _ in range(ADDRESSES_MAX):
        try:
            _ioctl(dev, SIOCGIFADDR, ADDRESS, AF_INET, b'')
            _ioctl(dev, SIOCSIFADDR, ADDRESS, AF_INET, b'')
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return
            raise _failure(dev, 'remove addresses', error) from error
    raise HostError('%s: more than %d IPv4 addresses' % (dev, ADDRESSES_MAX))


def _get(dev: str, request: int, shape: Struct, what: str) -> int:
    """Return the number that an ioctl answers."""
    try:
        return _ioctl(dev, request, shape, 0)
    except OSError as error:
        raise _failure(dev, what, error) from error


def _set(dev: str, request: int, shape: Struct, value: int, what: str) -> None:
    """Hand a number to an ioctl."""
    try:
        _ioctl(dev, request, shape, value)
    except (OSError, StructError) as error:
        raise _failure(dev, what, error) from error


def _ioctl(dev: str, request: int, shape: Struct, *values: object) -> int:
    """Make the call; return the first of what the kernel put in place of the values."""
    _check_name(dev)
    control = socket(AF_INET, SOCK_DGRAM)
    try:
        answer = fcntl.ioctl(control.fileno(), request, shape.pack(dev.encode('ascii'), *values))
    finally:
        control.close()
    number = shape.unpack(answer)[1]
    assert isinstance(number, int)
    return number


def _check_name(dev: str) -> None:
    """Refuse a name that is not a VIF's device before it becomes an argument or a path."""
    if not NAME.fullmatch(dev) or len(dev) > IFNAMSIZ - 1:
        raise HostError('not a VIF device: %.40r' % dev)


def _failure(dev: str, what: str, error: Exception) -> HostError:
    """Return the error to raise when the kernel refuses."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return HostError('%s: cannot %s: %s' % (dev, what, reason))


# --- addresses of Dom0 ----------------------------------------------------------------------


def find_addresses(dev: str) -> List[str]:
    """Return a device's IPv4 address and its global IPv6 addresses, none if it has none."""
    return _read_ipv4(dev) + _read_ipv6(dev)


def _read_ipv4(dev: str) -> List[str]:
    control = socket(AF_INET, SOCK_DGRAM)
    try:
        answer = fcntl.ioctl(control.fileno(), SIOCGIFADDR,
                             INET_ADDRESS.pack(dev.encode('ascii', 'replace')[:15], 0, b''))
    except OSError:
        return []           # it has none, or there is no such device
    finally:
        control.close()
    return [inet_ntoa(INET_ADDRESS.unpack(answer)[2])]


def _read_ipv6(dev: str) -> List[str]:
    try:
        with open(IF_INET6) as file:
            rows = [line.split() for line in file]
    except OSError:
        return []           # a Dom0 without IPv6
    return ['%s/%d' % (':'.join(row[0][at:at + 4] for at in range(0, 32, 4)), int(row[2], 16))
            for row in rows if row[5] == dev and row[3] == SCOPE_GLOBAL]


def read_statistics(dev: str) -> Tuple[int, int]:
    """Return how many frames a device has received and sent: of a VIF its VM's, and to its VM."""
    found = []
    for name in ('rx_packets', 'tx_packets'):
        try:
            with open('%s/%s/statistics/%s' % (NET_CLASS, dev, name)) as file:
                found.append(int(file.read()))
        except (OSError, ValueError):
            found.append(0)
    return found[0], found[1]
