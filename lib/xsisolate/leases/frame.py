"""An Ethernet frame -> the UDP datagram that it carries, or nothing. Nothing here trusts a byte."""
from struct import Struct
from typing import NamedTuple, Optional, Tuple

from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import Prefix

ETHERNET = Struct('!6s6sH')
TAG = Struct('!HH')                     # a VLAN tag's rest, and the type behind it
IPV4 = Struct('!BBHHHBBH4s4s')
IPV6 = Struct('!IHBB16s16s')
UDP = Struct('!HHHH')
TYPE_TAG, TYPE_IPV4, TYPE_IPV6, PROTOCOL_UDP = 0x8100, 0x0800, 0x86dd, 17
FRAGMENT = 0x3fff                       # more to come, or an offset


class Datagram(NamedTuple):
    """What a frame carries."""

    version: int            # 4 or 6
    eth_source: str         # MAC addresses, lower case, colons
    eth_target: str
    source: str             # the IP address, for an admin's eyes
    ports: Tuple[int, int]
    payload: bytes


def parse_frame(frame: bytes) -> Optional[Datagram]:
    """Return the datagram that a frame holds as a whole; None of fragments and all else."""
    if len(frame) < ETHERNET.size + TAG.size:
        return None
    target, source, kind = ETHERNET.unpack_from(frame)
    at = ETHERNET.size
    if kind == TYPE_TAG:
        _, kind = TAG.unpack_from(frame, at)
        at += TAG.size
    packet = frame[at:]
    found = _parse_ipv4(packet) if kind == TYPE_IPV4 else (
        _parse_ipv6(packet) if kind == TYPE_IPV6 else None)
    if found is None:
        return None
    address, rest = found
    if len(rest) < UDP.size:
        return None
    source_port, target_port, length, _ = UDP.unpack_from(rest)
    if not UDP.size <= length <= len(rest):
        return None
    return Datagram(address.version, format_mac(source), format_mac(target),
                    format_prefix(address), (source_port, target_port), rest[UDP.size:length])


def find_client(frame: bytes, asks: bool) -> Tuple[bytes, bytes]:
    """Return whose DHCP message a frame is, or to whom, and its transaction.

    Of a question the sender alone counts. Of an answer nothing is certain: it may name anybody. It
    costs as little as can be: floods are sorted out by it.
    """
    at = ETHERNET.size + (TAG.size if frame[12:14] == b'\x81\0' else 0)
    if frame[at - 2:at] == b'\x86\xdd':
        return frame[6:12] if asks else frame[:6], b'6' + frame[at + 49:at + 52]
    udp = at + (frame[at] & 0xf) * 4 if len(frame) > at else at
    return frame[6:12] if asks else frame[udp + 36:udp + 42], b'4' + frame[udp + 12:udp + 16]


def _parse_ipv4(packet: bytes) -> Optional[Tuple[Prefix, bytes]]:
    if len(packet) < IPV4.size:
        return None
    first, _, total, _, fragment, _, protocol, _, source, _ = IPV4.unpack_from(packet)
    header = (first & 0xf) * 4
    if (first >> 4 != 4 or protocol != PROTOCOL_UDP or fragment & FRAGMENT
            or not IPV4.size <= header <= total <= len(packet)):
        return None
    return Prefix(4, int.from_bytes(source, 'big'), 32), packet[header:total]


def _parse_ipv6(packet: bytes) -> Optional[Tuple[Prefix, bytes]]:
    """Return source and rest; a packet with extension headers is none that a DHCP server sends."""
    if len(packet) < IPV6.size:
        return None
    first, length, following, _, source, _ = IPV6.unpack_from(packet)
    if first >> 28 != 6 or following != PROTOCOL_UDP or IPV6.size + length > len(packet):
        return None
    return Prefix(6, int.from_bytes(source, 'big'), 128), packet[IPV6.size:IPV6.size + length]


def format_mac(address: bytes) -> str:
    """Return a MAC address as we write it."""
    return ':'.join(['%02x' % byte for byte in address])
