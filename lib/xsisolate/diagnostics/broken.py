"""A configuration file with an error: since when, and what that means for VIFs."""
import os
from time import localtime, strftime
from typing import NamedTuple

from xsisolate.config.load import config_file
from xsisolate.dom0.run_files.pool_networks import networks_file


class Broken(NamedTuple):
    """A configuration file with an error, while VIFs keep their last policies."""

    error: str
    since: str                  # local time
    known: bool                 # what it was before is

    def __str__(self) -> str:
        return ('%s. VIFs plugged or refreshed since %s are quarantined; other VIFs keep the '
                'policy that they had, which is shown%s' % (self.error, self.since, '' if self.known
                else ', as far as the switch tells it'))


def read_time() -> str:
    """Return when what the configuration comes to has last changed."""
    times = [os.stat(path).st_mtime for path in (config_file(), networks_file())
             if os.path.exists(path)]
    return strftime('%Y-%m-%d %H:%M:%S', localtime(max(times, default=0)))
