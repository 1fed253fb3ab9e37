"""Files whose change changes flows: configuration, group files, labels, VIF metadata.

A stat a second each: cheaper than it sounds, and it misses nothing that a rename,
a full /run or a removed folder would hide from inotify.
"""
import os
from time import time
from typing import Dict, Iterable, Optional, Set, Tuple

from xsisolate.config.load import CONFIG_FILE
from xsisolate.dom0.run_files.group_members import FOLDER as GROUPS
from xsisolate.dom0.run_files.pool_networks import FILE as NETWORKS
from xsisolate.dom0.xen.vif_metadata import FOLDER as METADATA
from xsisolate.paths import rooted

Stamp = Optional[Tuple[int, ...]]
FRESH_S = 3.0       # so new a file may have been written after it was read, and before we look


class Files:
    """Stamps of files by what they concern; `changed` names what has another stamp now."""

    def __init__(self) -> None:
        self._stamps: Dict[str, Stamp] = {}

    def changed(self, paths: Iterable[str]) -> Set[str]:
        """Return those of these files that have changed since last time.

        Those that are new to us have not, unless they were written a moment ago.
        """
        stamps = {path: _stamp(path) for path in paths}
        found = {path for path, stamp in stamps.items()
                 if (stamp != self._stamps[path] if path in self._stamps else _is_fresh(stamp))}
        self._stamps = stamps
        return found


def shared_files() -> Set[str]:
    """Return the files that concern every bridge."""
    folder = rooted(GROUPS)
    try:
        groups = {entry.path for entry in os.scandir(folder) if entry.name.endswith('.json')}
    except OSError:
        groups = set()
    return {rooted(CONFIG_FILE), rooted(NETWORKS), folder} | groups


def metadata_file(vm_uuid: str, devid: int) -> str:
    """Return where xenopsd keeps a VIF's metadata."""
    return rooted('%s/%s/vif.%d' % (METADATA, vm_uuid, devid))


def _is_fresh(stamp: Stamp) -> bool:
    return stamp is not None and abs(time() - stamp[0] / 1e9) < FRESH_S


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
