"""XVA as the fake hosts write and read it: the tar that XAPI's /export and /import speak.

ova.xml first, then each disk's pieces of 1 MiB that are not all zeros, each with the xxhash of it
in a file of its own; the first and the last piece are always there.
"""
import tarfile
import xmlrpc.client
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Mapping, NamedTuple, Tuple

import xxhash

BLOCK = 512
PIECE = 1 << 20
XML_NAME, SUFFIX = 'ova.xml', '.xxhash'
END = bytes(2 * BLOCK)
STAMP = 16              # so many bytes make a piece different from all others

Send = Callable[[Any], None]


class BadArchive(Exception):
    """What arrives is no XVA; the arguments are XAPI's error code and its parameters."""


class Content:
    """What is on a disk: which pieces are not zeros, and the checksums of all that was seen."""

    def __init__(self, size: int, seed: int = 0, pieces: Tuple[int, ...] = ()) -> None:
        self.size, self.seed = size, seed
        self.last = max(0, (size - 1) // PIECE)
        self.pieces = tuple(sorted({*pieces, 0, self.last}))
        self.sums: Dict[int, str] = {}

    def length(self, number: int) -> int:
        """Return how long a piece is: the last may be shorter."""
        return min(PIECE, self.size - number * PIECE)

    def fill(self, buffer: bytearray, number: int) -> memoryview:
        """Write what makes a piece its own into a buffer of noise; return the piece."""
        buffer[:STAMP] = b'%07d/%08d' % (self.seed % 10 ** 7, number)
        return memoryview(buffer)[:self.length(number)]

    def all_sums(self) -> Dict[int, str]:
        """Return the checksums of all pieces."""
        buffer = noise()
        return {number: digest(self.fill(buffer, number)) for number in self.pieces}

    @property
    def used(self) -> int:
        """How many bytes its storage needs for it."""
        return sum(self.length(number) for number in self.pieces)


class Packed(NamedTuple):
    """A disk in an archive."""

    name: str
    content: Content


def noise() -> bytearray:
    """Return a piece that no compression makes much smaller."""
    state, out = 1, bytearray(PIECE)
    for at in range(0, 4096, 8):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        out[at:at + 8] = state.to_bytes(8, 'little')
    for at in range(4096, PIECE, 4096):
        out[at:at + 4096] = out[:4096]
        out[at:at + 8] = at.to_bytes(8, 'little')
    return out


def digest(piece: Any) -> str:
    """Return a piece's checksum as XAPI writes it."""
    return '%016X' % xxhash.xxh64(piece).intdigest()


def header(name: str, size: int) -> bytes:
    """Return the header of a file in the archive."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


def write(send: Send, objects: List[Dict[str, Any]], disks: List[Packed],
          quiet: Callable[[str, int], bool], wrong: Callable[[str, int], bool]) -> None:
    """Write an archive.

    `quiet` is asked before each piece whether an empty file is to come first, as after seconds
    without data, and `wrong` whether a piece's checksum is to be another's.
    """
    xml = format_xml(objects)
    send(header(XML_NAME, len(xml)) + xml + bytes(-len(xml) % BLOCK))
    buffer = noise()
    for disk in sorted(disks):
        shift = 0
        for number in disk.content.pieces:
            while quiet(disk.name, number + shift):
                write_file(send, '%s/%08d' % (disk.name, number + shift), b'')
                shift += 1
            piece = disk.content.fill(buffer, number)
            write_file(send, '%s/%08d' % (disk.name, number + shift), piece,
                       wrong(disk.name, number))
    send(END)


def write_file(send: Send, name: str, piece: Any, wrong: bool = False) -> None:
    """Write a piece, and its checksum behind it."""
    total = '0' * 16 if wrong else digest(piece)
    send(header(name, len(piece)))
    send(piece)
    send(bytes(-len(piece) % BLOCK) + header(name + SUFFIX, len(total))
         + total.encode().ljust(BLOCK, b'\0'))


def format_xml(objects: List[Dict[str, Any]]) -> bytes:
    """Return ova.xml: one value in XML-RPC's words."""
    version = {'hostname': 'alpha', 'date': '2026-11-25', 'product_version': '8.3.0',
               'product_brand': 'XCP-ng', 'build_number': 'cloud', 'xapi_major': '1',
               'xapi_minor': '20', 'export_vsn': '2'}
    text = xmlrpc.client.dumps(({'version': version, 'objects': objects},))
    return text[text.index('<value>'):text.rindex('</param>')].encode()


def parse_xml(xml: bytes) -> List[Mapping[str, Any]]:
    """Return the objects that ova.xml tells of."""
    loaded: Any = xmlrpc.client.loads(
        '<params><param>%s</param></params>' % xml.decode())[0][0]
    found: List[Mapping[str, Any]] = loaded['objects']
    return found


class Reader:
    """Reads an archive from a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = bytearray(PIECE)

    def exactly(self, size: int) -> memoryview:
        """Return the next bytes; raise BadArchive at the stream's end."""
        view, got = memoryview(self._buffer)[:size], 0
        while got < size:
            more = self._stream.readinto(view[got:])     # type: ignore[attr-defined]
            if not more:
                raise BadArchive('IMPORT_ERROR_PREMATURE_EOF')
            got += more
        return view

    def next_file(self) -> Tuple[str, int]:
        """Return the next file's name and size."""
        try:
            info = tarfile.TarInfo.frombuf(bytes(self.exactly(BLOCK)), 'utf-8', 'strict')
        except tarfile.HeaderError as error:
            raise BadArchive('IMPORT_ERROR', str(error)) from error
        return info.name, info.size

    def skip_padding(self, size: int) -> None:
        """Skip to the next header."""
        self.exactly(-size % BLOCK)

    def read_xml(self) -> bytes:
        """Return ova.xml, which comes first."""
        name, size = self.next_file()
        if name != XML_NAME:
            raise BadArchive('IMPORT_ERROR_UNEXPECTED_FILE', XML_NAME, name)
        xml = b''
        while len(xml) < size:
            xml += bytes(self.exactly(min(PIECE, size - len(xml))))
        self.skip_padding(size)
        return xml

    def read_disk(self, disk: Packed) -> Iterator[int]:
        """Read a disk as XAPI does, in order, each piece with its checksum; yield their sizes."""
        last, offset = -1, 0        # an empty file counts as a name, not as a piece
        while offset < disk.content.size:
            name, size = self.next_file()
            folder, _, text = name.partition('/')
            if folder != disk.name or int(text) <= last:
                raise BadArchive('IMPORT_ERROR', 'unexpected %s of %s' % (name, disk.name))
            piece = self.exactly(size)
            total = digest(piece)
            self.skip_padding(size)
            if self.next_file() != (name + SUFFIX, len(total)):
                raise BadArchive('IMPORT_ERROR', 'no checksum behind %s' % name)
            if bytes(self.exactly(len(total))) != total.encode():
                raise BadArchive('IMPORT_ERROR_SOME_CHECKSUMS_FAILED')
            self.skip_padding(len(total))
            offset += (int(text) - last - 1) * PIECE
            if size:
                disk.content.sums[offset // PIECE] = total
            last, offset = int(text), offset + size
            yield size
