"""Somebody between the hooks and ovs-vswitchd, who delays what they say or loses some of it."""
import os
import socket
import struct
import threading
import time
from contextlib import contextmanager
from typing import Callable, Iterator, List

from sandbox.ovs import RUN
from xsisolate.pipeline.tables import DESTINATION

BUNDLE_CONTROL, BUNDLE_ADD = 33, 34     # OpenFlow 1.4
COMMIT = 4
TABLE = 8 + 8 + 8 + 16                  # where a change in a bundle names its table
HOURGLASS_S = 1.0

Keeps = Callable[[int, bytes], bool]    # (type, message): is it passed on?


@contextmanager
def slow_switch(bridge: str = 'xenbr0') -> Iterator[None]:
    """Let a change of flows take a second, time enough for a look."""
    def wait(kind: int, message: bytes) -> bool:
        if kind == BUNDLE_CONTROL and message[13] == COMMIT:
            time.sleep(HOURGLASS_S)
        return True

    with between(bridge, wait):
        yield


@contextmanager
def forgetful_switch(bridge: str = 'xenbr0') -> Iterator[None]:
    """Let the switch lose some of our flows, and say that all is well."""
    with between(bridge, lambda kind, message: (
            kind != BUNDLE_ADD or message[TABLE] != DESTINATION)):
        yield


@contextmanager
def between(bridge: str, keeps: Keeps) -> Iterator[None]:
    """Stand between a bridge's management socket and whoever connects to it."""
    path = os.path.join(RUN, bridge + '.mgmt')
    os.rename(path, path + '.real')
    door = socket.socket(socket.AF_UNIX)
    door.bind(path)
    door.listen(8)
    sockets: List[socket.socket] = [door]
    threading.Thread(target=_welcome, args=(door, path + '.real', keeps, sockets),
                     daemon=True).start()
    try:
        yield
    finally:
        os.rename(path + '.real', path)
        for one in sockets:
            _hang_up(one)


def _welcome(door: socket.socket, real: str, keeps: Keeps, sockets: List[socket.socket]) -> None:
    while True:
        try:
            client, _ = door.accept()
        except OSError:
            return
        switch = socket.socket(socket.AF_UNIX)
        switch.connect(real)
        sockets += [client, switch]
        for work in (lambda a=client, b=switch: _carry(a, b, keeps),
                     lambda a=switch, b=client: _carry(a, b, lambda kind, message: True)):
            threading.Thread(target=work, daemon=True).start()


def _carry(source: socket.socket, target: socket.socket, keeps: Keeps) -> None:
    """Pass messages on, one by one, until somebody hangs up."""
    data = b''
    try:
        while True:
            piece = source.recv(1 << 16)
            if not piece:
                break
            data += piece
            while len(data) >= 8 and len(data) >= struct.unpack('!H', data[2:4])[0]:
                length = struct.unpack('!H', data[2:4])[0]
                if keeps(data[1], data[:length]):
                    target.sendall(data[:length])
                data = data[length:]
    except OSError:
        pass
    _hang_up(source)
    _hang_up(target)


def _hang_up(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    one.close()
