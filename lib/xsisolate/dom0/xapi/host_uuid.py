"""Which host this is: XAPI's uuid of it, from the file that the installer wrote."""
import re

from xsisolate.errors import HostError
from xsisolate.paths import rooted

FILE = '/etc/xensource-inventory'
LINE = re.compile('INSTALLATION_UUID=[\'"]?([0-9a-fA-F-]{36})[\'"]?\\s*')


def read_host_uuid() -> str:
    """Return this host's uuid in lower case."""
    path = rooted(FILE)
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            for line in file:
                match = LINE.fullmatch(line)
                if match:
                    return match.group(1).lower()
    except OSError as error:
        raise HostError('%s: %s' % (path, error.strerror)) from error
    raise HostError('%s: names no INSTALLATION_UUID' % path)
