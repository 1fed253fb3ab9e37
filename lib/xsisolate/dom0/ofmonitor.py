"""An OpenFlow connection to one bridge, to be told at once when its flows or it itself go.

ovs-vswitchd hangs up when it ends, however it ends. While it lives it reports
flows that are deleted or modified (Nicira's flow monitor, OpenFlow 1.0, in Open
vSwitch since 1.9; nicira-ext.h). Nothing is sent but hello, one request and echoes.
"""
import os
from _socket import AF_UNIX, SOCK_STREAM, socket
from struct import Struct
from typing import Iterator, Optional, Tuple

RUNDIRS = ('/run/openvswitch', '/var/run/openvswitch')
HEADER = Struct('!BBHI')            # version, type, length, xid
VERSION = 1
HELLO, ECHO_REQUEST, ECHO_REPLY, STATS_REQUEST, STATS_REPLY = 0, 2, 3, 16, 17
# Vendor statistics of Nicira: OFPST_VENDOR, flags; vendor, subtype 2 is the flow
# monitor, padding; its id, flags (deletions and changes, not the flows of today), out_port
# (any), length of match, table (all), padding.
MONITOR = Struct('!HHII4xIHHHB5x')
MONITOR_ARGUMENTS = (0xffff, 0, 0x00002320, 2, 1, 1 << 2 | 1 << 3, 0xffff, 0, 0xff)
PIECE = 1 << 16


class FlowMonitor:
    """A connection to a bridge's management socket."""

    def __init__(self, bridge: str) -> None:
        self.bridge = bridge
        self._received = b''
        self._socket: Optional[socket] = None

    def fileno(self) -> int:
        """Return the descriptor to wait for, -1 if there is no connection."""
        return self._socket.fileno() if self._socket else -1

    def connect(self) -> bool:
        """Connect and subscribe; False if the bridge does not answer yet."""
        self.close()
        fresh = socket(AF_UNIX, SOCK_STREAM)
        fresh.setblocking(False)
        try:
            fresh.connect(_socket_path(self.bridge))
            fresh.sendall(_message(HELLO, 1) + _message(STATS_REQUEST, 2,
                                                        MONITOR.pack(*MONITOR_ARGUMENTS)))
        except OSError:
            fresh.close()
            return False
        self._socket = fresh
        return True

    def close(self) -> None:
        """Hang up."""
        if self._socket:
            self._socket.close()
        self._socket, self._received = None, b''

    def read(self) -> Tuple[bool, bool]:
        """Return whether the connection is alive, and whether flows have changed since."""
        changed = False
        try:
            while self._socket:
                piece = self._socket.recv(PIECE)
                if not piece:
                    self.close()
                    break
                self._received += piece
                for kind, xid, body in self._messages():
                    changed = changed or kind == STATS_REPLY
                    if kind == ECHO_REQUEST:
                        self._socket.sendall(_message(ECHO_REPLY, xid, body))
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        return self._socket is not None, changed

    def _messages(self) -> Iterator[Tuple[int, int, bytes]]:
        """Yield the whole messages among what has been received."""
        while len(self._received) >= HEADER.size:
            _, kind, length, xid = HEADER.unpack_from(self._received)
            if len(self._received) < length:
                return
            body = self._received[HEADER.size:length]
            self._received = self._received[max(length, HEADER.size):]
            yield kind, xid, body


def _message(kind: int, xid: int, body: bytes = b'') -> bytes:
    return HEADER.pack(VERSION, kind, HEADER.size + len(body), xid) + body


def _socket_path(bridge: str) -> str:
    named = os.environ.get('OVS_RUNDIR')
    folders = (named,) if named else RUNDIRS
    paths = ['%s/%s.mgmt' % (folder, bridge) for folder in folders]
    return next((path for path in paths if os.path.exists(path)), paths[0])
