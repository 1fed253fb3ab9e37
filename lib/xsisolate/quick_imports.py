"""What `socket` and `hashlib` stand on, without their Python halves: a VM's boot waits for us.

On Python 3.6 the two modules take 5 ms to import, half of the interpreter's own start. Only this
module and the hooks' client know the C modules below them; mypy reads the real ones.
"""
TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256
    from socket import (AF_INET, AF_UNIX, MSG_PEEK, SOCK_DGRAM, SOCK_STREAM, inet_ntoa, socket)
    from socket import timeout as SocketTimeout  # noqa: N812
else:
    from _socket import AF_INET, AF_UNIX, MSG_PEEK, SOCK_DGRAM, SOCK_STREAM, inet_ntoa, socket
    from _socket import timeout as SocketTimeout  # noqa: N812
    try:
        from _sha256 import sha256
    except ImportError:             # Python 3.12 has it elsewhere
        from hashlib import sha256

__all__ = ('AF_INET', 'AF_UNIX', 'MSG_PEEK', 'SOCK_DGRAM', 'SOCK_STREAM', 'SocketTimeout',
           'inet_ntoa', 'sha256', 'socket')
