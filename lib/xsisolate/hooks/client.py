"""Hand a hook's call to the server that has everything ready for it (server.py).

To start Python and import the hook takes longer than the hook's own work, so that much is
done once. All else stays as if there were no server: whenever it is not there, not of this
release or not quick to answer, and also when it breaks off, the hook does the work itself.
"""
import os
import sys
# as in quick_imports, without one module more: this is all that a served hook imports
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket
from struct import pack

from xsisolate.paths import LIBRARY, rooted
from xsisolate.typing_compat import Optional, Sequence

SOCKET = '/run/xsisolate/hooks.sock'
READY, GO = b'ready', b'go'
PATIENCE_S = 2.0        # a server that is stopped, or has hundreds to serve before us
ANSWER_MAX = 16         # bytes


def ask_server(argv: Sequence[str]) -> Optional[int]:
    """Return the exit code of a call that the server has run; None: it is still to be run.

    The server says that it is ready and waits for our GO. A call without GO is run by this process
    instead, so nothing runs twice. If the connection ends after GO without an answer, the server's
    child has died. Then this process runs the call again, which hooks are made for.
    """
    server = socket(AF_UNIX, SOCK_SEQPACKET)
    try:
        server.settimeout(PATIENCE_S)
        server.connect(rooted(SOCKET))
        server.sendmsg([_request(argv)], [(SOL_SOCKET, SCM_RIGHTS, pack('3i', 0, 1, 2))])
        if server.recv(ANSWER_MAX) != READY:
            return None
        server.settimeout(None)     # the hook ends by itself: all that it waits for has an end
        server.send(GO)
        return int(server.recv(ANSWER_MAX))
    except (OSError, ValueError):
        return None
    finally:
        server.close()


def flush_streams() -> None:
    """Write what is left to be said; it changes nothing if the reader has gone."""
    for output in (sys.stdout, sys.stderr):
        try:
            output.flush()
        except (OSError, ValueError, AttributeError):
            pass


def _request(argv: Sequence[str]) -> bytes:
    """Return whose library we are, how many arguments follow, these, and the environment."""
    words = [LIBRARY, str(len(argv)), os.path.abspath(argv[0])] + list(argv[1:])
    return b'\0'.join([os.fsencode(word) for word in words]
                      + [b'%s=%s' % pair for pair in os.environb.items()])
