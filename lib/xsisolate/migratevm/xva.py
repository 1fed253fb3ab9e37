"""Follows an XVA, a VM's export, while it passes by: how far is it, and did it come to its end?

An XVA is a tar file: ova.xml, which says which disks there are, then each disk in pieces of 1 MiB
that are named `Ref:7/00000042`, each with its checksum in a file behind it. Pieces of zeros are
left out, so their numbers, not their count, say how far a disk is. Empty files keep idle
connections alive. What XAPI has compressed is not looked into.
"""
import xmlrpc.client
from typing import Any, Dict, Optional, Union

from xsisolate.dom0.xapi.session import one_line
from xsisolate.errors import HostError

BLOCK = 512
PIECE = 1 << 20
XML_NAME, XML_MAX = 'ova.xml', 4 << 20      # a larger one is passed on unread
MAGIC = (b'\x1f\x8b', b'\x28\xb5\x2f\xfd')  # gzip, zstd

Bytes = Union[bytes, memoryview]


class Follower:
    """Where a stream is; it is fed every byte, and keeps headers and ova.xml only."""

    def __init__(self) -> None:
        self.ended = False          # the tar's end has been seen
        self.opaque = False         # compressed
        self._kept = bytearray()    # an incomplete header, or ova.xml
        self._want = BLOCK          # bytes of what is kept
        self._skip = 0
        self._in_xml = False
        self._first = True
        self._sizes: Dict[str, int] = {}
        self._disk, self._before, self._at, self._last = '', 0, 0, -1

    @property
    def fraction(self) -> Optional[float]:
        """How much of the disks has passed, 0 to 1; None where it is unknown."""
        total = sum(self._sizes.values())
        if self.ended:
            return 1.0
        return min((self._before + self._at) / total, 1.0) if total else None

    @property
    def complete(self) -> bool:
        """Tell whether a stream that is over now has come to its end, as far as one can see."""
        return self.ended or self.opaque

    def feed(self, data: Bytes) -> None:
        """Take note of the next bytes; raise HostError if they are no XVA."""
        size, at = len(data), 0
        while at < size:
            if self._skip:
                step = min(self._skip, size - at)
                self._skip -= step
                at += step
            elif self.opaque or self.ended:
                return
            else:
                step = min(self._want - len(self._kept), size - at)
                self._kept += data[at:at + step]
                at += step
                if len(self._kept) == self._want:
                    self._take()

    def _take(self) -> None:
        """Do with what is complete now what it is for."""
        kept, self._kept, self._want = bytes(self._kept), bytearray(), BLOCK
        if self._in_xml:
            self._in_xml = False
            self._sizes = read_sizes(kept)
            self._skip = -len(kept) % BLOCK
        elif self._first and kept.startswith(MAGIC):
            self.opaque = True
        elif not any(kept):
            self.ended = not self._first
            if self._first:
                raise HostError('the source sends no XVA: its stream begins with zeros')
        else:
            self._begin(kept)
        self._first = False

    def _begin(self, header: bytes) -> None:
        """Begin the file that a tar header announces."""
        size = read_header(header)
        if size is None:
            raise HostError('the source sends no XVA: not a tar header: %s'
                            % one_line(repr(header[:32])))
        name = header[:100].rstrip(b'\0').decode('latin-1')
        if self._first and name == XML_NAME and 0 < size <= XML_MAX:
            self._in_xml, self._want = True, size
            return
        self._skip = size + -size % BLOCK
        disk, _, number = name.partition('/')
        if number.isdigit():
            if disk != self._disk:
                self._before += self._sizes.get(self._disk, 0)
                self._disk, self._at, self._last = disk, 0, -1
            # an empty file takes a number and no room
            self._at += (int(number) - self._last - 1) * PIECE + size
            self._last = int(number)


def read_header(header: bytes) -> Optional[int]:
    """Return the size of the file that a tar header announces; None if it is none."""
    try:
        stated = int(header[148:156].strip(b' \0') or b'x', 8)
        size = int(header[124:136].strip(b' \0') or b'0', 8)
    except ValueError:
        return None
    found = sum(header) - sum(header[148:156]) + 8 * ord(' ')
    return size if stated == found and size >= 0 else None


def read_sizes(xml: bytes) -> Dict[str, int]:
    """Return the sizes of the disks that ova.xml tells of, by their names in the tar."""
    text = xml.decode('utf-8', 'replace')
    begin = text.find('<value>')
    try:
        (header,), _ = xmlrpc.client.loads(
            '<params><param>%s</param></params>' % text[max(begin, 0):])
        objects: Any = header['objects']    # type: ignore[call-overload, index]
        return {str(one['id']): int(one['snapshot']['virtual_size'])
                for one in objects if one['class'] == 'VDI'}
    except Exception:       # noqa: B902 - it is for the progress bar only; XAPI reads it itself
        return {}
