"""Files whose change changes flows: configuration, labels, group files, VIF metadata.

A stat a second each: cheaper than it sounds, and it misses nothing that a rename,
a full /run or a removed folder would hide from inotify.
"""
import os
from time import time
from typing import AbstractSet, Dict, FrozenSet, NamedTuple, Optional, Tuple

from xsisolate.config.load import CONFIG_FILE
from xsisolate.dom0.run_files.group_members import FOLDER as GROUPS
from xsisolate.dom0.run_files.group_members import SUFFIX
from xsisolate.dom0.run_files.pool_networks import FILE as NETWORKS
from xsisolate.dom0.xen.vif_metadata import FOLDER as METADATA
from xsisolate.paths import rooted

Stamp = Optional[Tuple[int, ...]]
Stamps = Dict[str, Stamp]
FRESH_S = 3.0       # so new a file may have been written after it was read, and before we look


class Changed(NamedTuple):
    """What is not as it was at the last look."""

    configuration: bool             # or the networks' labels, which may be its keys
    groups: FrozenSet[str]
    metadata: FrozenSet[str]        # paths


class Files:
    """Stamps of files; a look tells what has another stamp now."""

    def __init__(self) -> None:
        self._stamps: Stamps = {}
        self._groups: Optional[Stamps] = None

    def look(self, metadata: AbstractSet[str]) -> Changed:
        """Return what has changed since the last look, these files of VIFs' metadata included.

        What is new to us has not, unless it was written a moment ago; but a group's file.
        """
        shared = {rooted(CONFIG_FILE), rooted(NETWORKS)}
        stamps = {path: _stamp(path) for path in shared | metadata}
        found = {path for path, stamp in stamps.items()
                 if (stamp != self._stamps[path] if path in self._stamps else _is_fresh(stamp))}
        self._stamps = stamps
        return Changed(bool(found & shared), self._look_at_groups(), frozenset(found - shared))

    def _look_at_groups(self) -> FrozenSet[str]:
        before, stamps = self._groups, _stamp_groups()
        self._groups = stamps
        if before is None:
            return frozenset(group for group, stamp in stamps.items() if _is_fresh(stamp))
        return frozenset(group for group in before.keys() | stamps.keys()
                         if before.get(group) != stamps.get(group))


def metadata_file(vm_uuid: str, devid: int) -> str:
    """Return where xenopsd keeps a VIF's metadata."""
    return rooted('%s/%s/vif.%d' % (METADATA, vm_uuid, devid))


def _stamp_groups() -> Stamps:
    """Return the stamps of the groups' files, by group."""
    try:
        return {entry.name[:-len(SUFFIX)]: _stamp(entry.path)
                for entry in os.scandir(rooted(GROUPS)) if entry.name.endswith(SUFFIX)}
    except OSError:
        return {}


def _is_fresh(stamp: Stamp) -> bool:
    return stamp is not None and abs(time() - stamp[0] / 1e9) < FRESH_S


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
