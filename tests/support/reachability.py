"""Whether packets pass between two machines."""
import socket
import struct

from sandbox.host import Host
from sandbox.traffic import checksum
from sandbox.vm import Vm

SILENT_S = 0.3      # an answer takes a millisecond; this long nothing comes


def can_talk(one: Host, address: str) -> bool:
    """Tell whether an address answers; a second chance for a busy machine."""
    return one.ping(address) or one.ping(address, 3)


def is_cut_off(one: Host, *addresses: str) -> bool:
    """Tell whether none of the addresses answers, not even once."""
    return not one.ping_all(list(addresses), SILENT_S)


def arrives(sender: Host, receiver: Host, frame: bytes, device: str = 'eth0',
            at: str = 'eth0', wait: float = 2) -> bool:
    """Tell whether a frame sent from one machine is seen at another's device."""
    receiver.sniff(at)
    sender.send(frame, device)
    return frame in receiver.sniffed(at, until=frame, wait=wait)


def is_lost(sender: Host, receiver: Host, frame: bytes, device: str = 'eth0',
            at: str = 'eth0') -> bool:
    """Tell whether a frame that one machine sends is not seen at another's device."""
    return not arrives(sender, receiver, frame, device, at, SILENT_S)


def mac_bytes(mac: str) -> bytes:
    """Return a MAC address as it stands in frames."""
    return bytes.fromhex(mac.replace(':', ''))


def say(mac: str, address: str, to: str = 'ff:ff:ff:ff:ff:ff', at: str = '255.255.255.255',
        word: bytes = b'hello') -> bytes:
    """Return a UDP datagram to all, or to a MAC address and an IPv4 address."""
    payload = struct.pack('!4H', 4711, 4711, 8 + 18, 0) + word.ljust(18)
    header = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(payload), 0, 0, 64, 17, 0,
                         socket.inet_aton(address), socket.inet_aton(at))
    header = header[:10] + struct.pack('!H', checksum(header)) + header[12:]
    return mac_bytes(to) + mac_bytes(mac) + b'\x08\x00' + header + payload


def speech(vm: Vm, word: bytes = b'hello') -> bytes:
    """Return a broadcast in which a VM is what it claims to be."""
    return say(vm.mac, vm.address(), word=word)
