"""xapi's local database: the few facts about this host that are known without asking XAPI."""
import re
from typing import Optional

from xsisolate.paths import rooted

LOCAL_DB = '/var/lib/xcp/local.db'      # <localdb><row key="ha.armed" value="false"/> ...
SIZE_LIMIT = 1 << 20
ROW = re.compile(r'<row\s[^>]*>')
ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


def read_local(key: str) -> Optional[str]:
    """Return a value, None if it or the database is not there."""
    try:
        with open(rooted(LOCAL_DB), encoding='utf-8', errors='replace') as file:
            text = file.read(SIZE_LIMIT)
    except OSError:
        return None
    for row in ROW.findall(text):
        attributes = dict(ATTRIBUTE.findall(row))
        if attributes.get('key') == key:
            return attributes.get('value')
    return None
