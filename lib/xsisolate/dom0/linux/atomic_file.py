"""Text files in /etc and /run that are there whole or not at all."""
import os
from contextlib import suppress
from typing import List, Optional

from xsisolate.errors import HostError

SIZE_LIMIT = 8 << 20     # the members of a group may have 4 MB


def read_file(path: str) -> Optional[str]:
    """Return a file's text, None if there is no such file."""
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read(SIZE_LIMIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError('%s: cannot be read: %s' % (path, error.strerror)) from error


def put_file(path: str, text: Optional[str], mtime: Optional[float] = None,
             inside: bool = False, private: bool = False, keep: bool = False) -> bool:
    """Have a file with this text, or none; return whether that was not so before.

    The new text is written beside the file's folder, for xenopsd reads whatever is inside of some;
    `inside` is for folders that nobody else reads, and that may be file systems of their own.
    A new text is there together with its `mtime`, if one is given. A `private` file is root's only.
    With `keep` it has the mode and the owner of the file that is there.
    """
    if read_file(path) == text:
        return False
    folder, name = os.path.split(path)
    partial = '%s/.%s.new' % (folder, name) if inside else '%s.%s.new' % (folder, name)
    try:
        if text is None:
            os.unlink(path)
            return True
        os.makedirs(folder, 0o755, exist_ok=True)
        before = os.stat(path) if keep and os.path.exists(path) else None
        number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW,
                         0o600 if private else 0o644)
        with os.fdopen(number, 'w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            if before:
                os.fchown(number, before.st_uid, before.st_gid)
            os.fchmod(number, before.st_mode & 0o7777 if before else 0o600 if private else 0o644)
            os.fsync(number)
        if mtime is not None:
            os.utime(partial, (mtime, mtime))
        os.rename(partial, path)
        return True
    except OSError as error:
        with suppress(OSError):
            os.unlink(partial)
        raise HostError('%s: cannot be written: %s' % (path, error.strerror)) from error


def leftovers(path: str) -> List[str]:
    """Return files whose names begin with this one's: what rpm and editors leave behind."""
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(os.path.join(folder, other) for other in names
                  if other.startswith(name) and other != name)
