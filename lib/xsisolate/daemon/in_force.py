"""The configuration that the daemon goes by: the file's, or what that said when last valid."""
from typing import Optional

from xsisolate.config.host_config import (Configuration, read_configuration,
                                          read_last_configuration)
from xsisolate.dom0.linux.syslog import Log

REMEMBERED = 'the last valid configuration stays in force'
UNKNOWN = 'the last valid configuration is not known: VIFs keep their flows'


class ConfigurationInForce:
    """A broken file takes nothing from running VIFs and opens no VIF that is closed."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last: Optional[Configuration] = None
        self._mistake = ''

    @property
    def is_broken(self) -> bool:
        """Tell whether the file was broken when it was last read."""
        return bool(self._mistake)

    def read(self) -> Configuration:
        """Return what is in force now; with an error if the file is broken and was never read."""
        found = read_configuration()
        if not found.error:
            self._last = found
        elif self._last is None:        # the daemon was started since
            self._last = read_last_configuration()
        if found.error and found.error != self._mistake:
            self._log.error('configuration', error=found.error,
                            reason=REMEMBERED if self._last else UNKNOWN)
        self._mistake = found.error
        return self._last or found
