"""Whole Ethernet frames in and out of a device, as a guest's root can send and see them."""
import array
import fcntl
import socket
import struct
import time
from typing import List, Optional

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
SOL_PACKET = 263
PACKET_AUXDATA = 8
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 16 << 20

# struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
AUXDATA = struct.Struct('=IIIHHHH')
VLAN_VALID, TPID_VALID = 0x10, 0x40
ETH_P_8021Q = 0x8100

SIOCETHTOOL = 0x8946
SET_TX_CHECKSUM, SET_TSO, SET_GSO, SET_GRO = 0x17, 0x1f, 0x24, 0x2c
COMPANY_S, COMPANY_MOST_S = 0.005, 0.1


class Sniffer:
    """Collects what arrives at a device, VLAN tags included.

    A veth filters no addresses: this sees what is for others as well.
    """

    def __init__(self, device: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        # the kernel takes a frame's tag off before we see it, and tells it here
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.bind((device, ETH_P_ALL))
        self._frames: List[bytes] = []

    def stop(self, until: Optional[bytes], wait: float) -> List[bytes]:
        """Return the frames; wait that many seconds for late ones, or until `until`."""
        deadline = time.monotonic() + wait
        while until is None or until not in self._frames:
            left = deadline - time.monotonic()
            self._socket.settimeout(max(left, 0.001))
            try:
                self._collect()
            except socket.timeout:
                if left <= 0:
                    break
        else:
            self._take_company()
        self._socket.close()
        return self._frames

    def _take_company(self) -> None:
        """Collect what the switch took up together with the last frame.

        It looks at its ports in an order of its own, so what was sent before may come after.
        """
        end = time.monotonic() + COMPANY_MOST_S
        self._socket.settimeout(COMPANY_S)
        try:
            while time.monotonic() < end:
                self._collect()
        except socket.timeout:
            pass

    def _collect(self) -> None:
        data, notes, _, address = self._socket.recvmsg(
            65536, socket.CMSG_SPACE(AUXDATA.size))
        if address[2] == PACKET_OUTGOING:
            return
        for level, kind, note in notes:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                data = with_tag(data, note)
        self._frames.append(data)


def with_tag(frame: bytes, auxdata: bytes) -> bytes:
    """Put the VLAN tag back that the kernel took off."""
    status, _, _, _, _, tci, tpid = AUXDATA.unpack(auxdata[:AUXDATA.size])
    if not status & VLAN_VALID:
        return frame
    tag = struct.pack('!HH', tpid if status & TPID_VALID else ETH_P_8021Q, tci)
    return frame[:12] + tag + frame[12:]


def send(device: str, *frames: bytes) -> None:
    """Send frames as they stand."""
    with open_sender(device) as raw:
        for frame in frames:
            raw.send(frame)


def open_sender(device: str) -> socket.socket:
    """Open a socket that sends frames as they stand."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.bind((device, 0))
    return raw


def disable_offloads(device: str) -> None:
    """Let the kernel finish what it sends: whole checksums, frames no larger than the MTU.

    A veth would otherwise pass on unfinished packets for "hardware" to complete,
    and the user-space switch would hand them to the other guest as they are.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in (SET_TX_CHECKSUM, SET_TSO, SET_GSO, SET_GRO):
            value = array.array('B', struct.pack('=II', command, 0))
            where = value.buffer_info()[0]
            fcntl.ioctl(any_socket, SIOCETHTOOL,
                        struct.pack('16sP', device.encode(), where))
