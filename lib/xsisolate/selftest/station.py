"""A party's cable: a veth pair, its far end in a network namespace without an IP stack's habits."""
import os
from typing import List, Optional

from xsisolate.dom0.linux.frame_socket import FrameSocket
from xsisolate.dom0.linux.network_namespace import NetworkNamespace
from xsisolate.dom0.linux.process import CommandFailed, run

NETWORK_DEVICES = '/sys/class/net'
GUEST = 'eth0'
IPV6 = '/proc/net/if_inet6'
MTU = 1500


class Station:
    """What a party sends from and hears with; `device` is Dom0's end of its cable."""

    def __init__(self, device: str, mac: str) -> None:
        self.device = device
        self.namespace = NetworkNamespace()
        self._socket: Optional[FrameSocket] = None
        try:
            run(['ip', 'link', 'add', device, 'type', 'veth', 'peer', 'name', GUEST,
                 'netns', self.namespace.path])
            _silence(device)
            with self.namespace.entered():
                _silence(GUEST)
                run(['ip', 'link', 'set', 'dev', GUEST, 'address', mac, 'mtu', str(MTU), 'up'])
                self._socket = FrameSocket(GUEST)
        except BaseException:
            self.close()
            raise

    def send(self, frame: bytes) -> None:
        """Send a frame as it stands."""
        assert self._socket
        self._socket.send(frame)

    def take(self) -> List[bytes]:
        """Return the frames that have come since the last time."""
        assert self._socket
        return self._socket.take()

    def close(self) -> None:
        """Take the cable away."""
        if self._socket:
            self._socket.close()
        remove_device(self.device)
        self.namespace.close()


def _silence(device: str) -> None:
    """Have the kernel say nothing of its own on a device."""
    run(['ip', 'link', 'set', 'dev', device, 'arp', 'off'])
    if os.path.exists(IPV6):
        run(['ip', 'link', 'set', 'dev', device, 'addrgenmode', 'none'])


def device_exists(device: str) -> bool:
    """Tell whether Dom0 has a network device of that name."""
    return os.path.exists('%s/%s' % (NETWORK_DEVICES, device))


def remove_device(device: str) -> None:
    """Remove a cable, if it is still there: its other end may have gone already."""
    if device_exists(device):
        try:
            run(['ip', 'link', 'del', 'dev', device])
        except CommandFailed:
            if device_exists(device):
                raise
