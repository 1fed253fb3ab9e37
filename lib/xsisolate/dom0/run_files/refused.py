"""What switches have refused, as the daemon's child keeps it: only root may read it."""
import json
from typing import Any, Optional

from xsisolate.dom0.linux.atomic_file import put_file, read_file
from xsisolate.errors import HostError
from xsisolate.paths import rooted

FILE = '/run/xsisolate/refused.json'


def read_record() -> Optional[Any]:
    """Return the record as JSON has it, None if there is none; HostError if it is not JSON."""
    text = read_file(rooted(FILE))
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HostError('%s: not JSON: %s' % (rooted(FILE), error)) from error


def write_record(content: Any) -> None:
    """Write the record."""
    put_file(rooted(FILE), json.dumps(content), private=True)
