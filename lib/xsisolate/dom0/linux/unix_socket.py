"""Connecting to a daemon's unix socket, within a deadline."""
from time import monotonic, sleep

from xsisolate.quick_imports import socket

PAUSE_S = 0.01


def connect(client: socket, path: str, timeout: float) -> None:
    """Connect; a unix socket whose queue is full says so at once, whatever the timeout."""
    deadline = monotonic() + timeout
    client.settimeout(timeout)
    while True:
        try:
            return client.connect(path)
        except BlockingIOError:
            if monotonic() >= deadline:
                raise
            sleep(PAUSE_S)
