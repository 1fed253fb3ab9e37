"""A password from a file that only its owner may read."""
import os
import stat

from xsisolate.errors import UsageError

PASSWORD_MAX = 4096


def read_password_file(path: str, name: str) -> str:
    """Return a file's first line; raise UsageError, with what the file is called, where others may
    read it.
    """
    try:
        with open(path, 'rb') as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(PASSWORD_MAX)
    except OSError as error:
        raise UsageError('%s %s: %s' % (name, path, error.strerror)) from error
    if stat.S_ISREG(mode) and mode & 0o077:
        raise UsageError('%s %s: others may read it: chmod 600' % (name, path))
    return text.decode('utf-8', 'surrogateescape').split('\n')[0].rstrip('\r')
