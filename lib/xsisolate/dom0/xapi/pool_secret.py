"""The secret that the hosts of a pool have in common; XAPI keeps it, for root alone to read."""
import os
import stat

from xsisolate.errors import HostError
from xsisolate.paths import rooted

FILE = '/etc/xensource/ptoken'
SHORTEST = 16               # characters; XAPI writes three uuids
SIZE_LIMIT = 4096


def read_pool_secret() -> bytes:
    """Return the pool's secret; raise HostError if it is not there, or not a secret."""
    path = rooted(FILE)
    try:
        with open(path, 'rb') as file:
            mode = os.fstat(file.fileno()).st_mode
            secret = file.read(SIZE_LIMIT).strip()
    except OSError as error:
        raise HostError('%s: cannot be read: %s; XAPI writes it' % (path, error.strerror)
                        ) from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise HostError('%s: mode %o: every user of this host may know the pool\'s secret: chmod '
                        '600' % (path, stat.S_IMODE(mode)))
    if len(secret) < SHORTEST:
        raise HostError('%s: has %d characters, a pool\'s secret has more' % (path, len(secret)))
    return secret
