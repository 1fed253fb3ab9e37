"""Whole Ethernet frames out of a device and into it, as a guest's root can send and see them."""
from socket import AF_PACKET, SOCK_RAW, SOL_SOCKET, socket

from xsisolate.errors import HostError
from xsisolate.typing_compat import List, Optional

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 8 << 20
FRAME_MAX = 65536


class FrameSocket:
    """Sends frames as they stand, and collects what arrives at a device, whoever it is for.

    Of a frame with a VLAN tag the kernel takes the tag off before it is seen here.
    """

    def __init__(self, device: str, buffer: int = BUFFER_BYTES) -> None:
        self._device = device
        self._socket = socket(AF_PACKET, SOCK_RAW, 0)
        try:
            self._socket.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, buffer)
            self._socket.bind((device, ETH_P_ALL))
            self._socket.setblocking(False)
        except OSError as error:
            self._socket.close()
            raise HostError('%s: cannot be listened to: %s' % (device, error.strerror)) from error

    def fileno(self) -> int:
        """Return the number of the open file."""
        return self._socket.fileno()

    def send(self, frame: bytes) -> None:
        """Send a frame."""
        try:
            self._socket.send(frame)
        except OSError as error:
            raise HostError('%s: a frame of %d bytes cannot be sent: %s' % (
                self._device, len(frame), error.strerror)) from error

    def take(self) -> List[bytes]:
        """Return what has arrived since the last time."""
        frames: List[bytes] = []
        while True:
            frame = self._receive()
            if frame is None:
                return frames
            frames.append(frame)

    def _receive(self) -> Optional[bytes]:
        """Return a frame that has come in, None if there is none."""
        while True:
            try:
                frame, address = self._socket.recvfrom(FRAME_MAX)
            except BlockingIOError:
                return None
            except OSError as error:        # the device went down, or has gone
                raise HostError('%s: %s' % (self._device, error.strerror)) from error
            if address[2] != PACKET_OUTGOING:
                return frame

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
