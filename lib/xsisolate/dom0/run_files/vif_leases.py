"""What servers have leased to a VIF of this host: a file that the daemon leaves for hooks."""
import os
from time import time

from xsisolate.errors import ConfigError, PolicyError
from xsisolate.paths import rooted
from xsisolate.policy.leases import SIZE_LIMIT, LeaseRecord, format_record, parse_record
from xsisolate.typing_compat import Iterator, Optional, Tuple
from xsisolate.vif_id import UUID

FOLDER = '/run/xsisolate/leases'
SUFFIX = '.json'
LOCK = '/run/xsisolate/learning.lock'


def read_leases(vm_uuid: str, devid: str) -> Optional[LeaseRecord]:
    """Return what a VIF's file says, None if it has none; ConfigError if it cannot be read."""
    path = lease_file(vm_uuid, devid)
    try:
        with open(path, 'rb') as file:
            content = file.read(SIZE_LIMIT + 2)
        return parse_record(content.decode('ascii').rstrip('\n'))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError('%s: %s' % (path, error.strerror)) from error
    except (PolicyError, ValueError) as error:
        raise ConfigError('%s: %s' % (path, error)) from error


def write_leases(vm_uuid: str, devid: str, record: Optional[LeaseRecord]) -> bool:
    """Have a VIF's file say this, or be gone; return whether that was not so before."""
    from xsisolate.dom0.linux.atomic_file import put_file
    return put_file(lease_file(vm_uuid, devid), record and format_record(record) + '\n')


def lease_file(vm_uuid: str, devid: str) -> str:
    """Return where a VIF's leases are written."""
    if not UUID.fullmatch(vm_uuid) or not devid.isdigit():
        raise ConfigError('not a VM uuid and a device number: %.60r, %.20r' % (vm_uuid, devid))
    return '%s/%s.%s%s' % (rooted(FOLDER), vm_uuid, devid, SUFFIX)


def list_leases() -> Iterator[Tuple[str, str, float]]:
    """Yield VM, device and age in seconds of each file."""
    try:
        for entry in os.scandir(rooted(FOLDER)):
            name = entry.name[:-len(SUFFIX)]
            vm_uuid, _, devid = name.partition('.')
            if entry.name.endswith(SUFFIX) and UUID.fullmatch(vm_uuid) and devid.isdigit():
                yield vm_uuid, devid, time() - entry.stat().st_mtime
    except OSError:
        return      # there is none yet; or one has just gone


def hold_learning() -> Optional[int]:
    """Be the one process that learns, until the descriptor is closed; None: another one is."""
    from fcntl import LOCK_EX, LOCK_NB, flock
    path = rooted(LOCK)
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        flock(number, LOCK_EX | LOCK_NB)
        return number
    except OSError:
        os.close(number)
        return None


def is_learning() -> bool:
    """Tell whether a daemon learns on this host."""
    number = hold_learning()
    if number is None:
        return True
    os.close(number)
    return False


def stamp_folder() -> Optional[int]:
    """Return what tells one state of all files from another."""
    try:
        return os.stat(rooted(FOLDER)).st_mtime_ns
    except OSError:
        return None
