"""syslog, and stderr for a person or for udev's debug log: one line for one event."""
import sys
import syslog

from xsisolate.typing_compat import Mapping

LINE_LIMIT = 900    # characters; rsyslog on el7 cuts at 2048 bytes, and a guest may choose some


class Log:
    """Writes lines as one program; copies them to stderr unless told not to."""

    def __init__(self, program: str, stderr: bool = True) -> None:
        self._stderr = stderr
        self._program = program
        syslog.openlog(program, syslog.LOG_PID, syslog.LOG_DAEMON)

    def info(self, event: str, **fields: object) -> None:
        """Say what was done."""
        self._write(syslog.LOG_INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Say what an admin should look at when there is time."""
        self._write(syslog.LOG_WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Say what went wrong."""
        self._write(syslog.LOG_ERR, event, fields)

    def _write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        line = format_line(event, **fields)
        syslog.syslog(level, line)
        if self._stderr and sys.stderr is not None:
            try:
                print('%s: %s' % (self._program, line), file=sys.stderr, flush=True)
            except (OSError, ValueError):
                pass    # the reader has gone; syslog has the line


def format_line(event: str, **fields: object) -> str:
    """Return `event key=value ...` as one bounded line of ASCII; None is left out.

    >>> format_line('hook', vif='vif1.0', error='no such "file"', groups=None)
    'hook vif=vif1.0 error="no such \\\\"file\\\\""'
    """
    words = [escape(event)] + ['%s=%s' % (key, _quoted(value))
                               for key, value in fields.items() if value is not None]
    line = ' '.join(words)
    return line if len(line) <= LINE_LIMIT else line[:LINE_LIMIT - 3] + '...'


def escape(text: str) -> str:
    """Return text with what is not printable ASCII written as Python escapes it."""
    return ''.join(c if ' ' <= c <= '~' else c.encode('unicode_escape', 'replace').decode('ascii')
                   for c in text[:LINE_LIMIT])


def _quoted(value: object) -> str:
    """Return a value, in quotes if it could be taken for more than one field."""
    text = escape(str(value))
    if text and not any(c in text for c in ' "='):
        return text
    return '"%s"' % text.replace('\\', '\\\\').replace('"', '\\"')
