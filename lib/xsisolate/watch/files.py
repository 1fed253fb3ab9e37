"""Files whose change changes flows: configuration, group files, xenopsd's VIF metadata.

A stat a second each: cheaper than it sounds, and it misses nothing that a rename,
a full /run or a removed folder would hide from inotify.
"""
import os
from typing import Dict, Iterable, Optional, Set, Tuple

from xsisolate.config import CONFIG_FILE
from xsisolate.dom0.members import FOLDER as GROUPS
from xsisolate.dom0.xenopsd import FOLDER as METADATA

Stamp = Optional[Tuple[int, ...]]


class Files:
    """Stamps of files by what they concern; `changed` names what has another stamp now."""

    def __init__(self) -> None:
        self._stamps: Dict[str, Stamp] = {}

    def changed(self, paths: Iterable[str]) -> Set[str]:
        """Return those of these files that have changed since last time; new ones have not."""
        stamps = {path: _stamp(path) for path in paths}
        found = {path for path in stamps
                 if path in self._stamps and stamps[path] != self._stamps[path]}
        self._stamps = stamps
        return found


def shared_files() -> Set[str]:
    """Return the files that concern every bridge."""
    root = os.environ.get('XSISOLATE_ROOT', '')
    folder = root + GROUPS
    try:
        groups = {entry.path for entry in os.scandir(folder) if entry.name.endswith('.json')}
    except OSError:
        groups = set()
    return {root + CONFIG_FILE, folder} | groups


def metadata_file(vm_uuid: str, devid: int) -> str:
    """Return where xenopsd keeps a VIF's metadata."""
    return '%s%s/%s/vif.%d' % (os.environ.get('XSISOLATE_ROOT', ''), METADATA, vm_uuid, devid)


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
