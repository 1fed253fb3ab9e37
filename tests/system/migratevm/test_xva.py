"""The archive: two implementations agree on it, and the mover follows it wherever it is cut."""
import os
import socket
import ssl
import tarfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.barepool import BarePool, BareVm
from sandbox.xapidb import PASSWORD
from sandbox.xvastream import Content, Packed, write
from xsisolate.errors import HostError
from xsisolate.migratevm.xva import Follower, read_sizes

from support.vm_mover import Mover
from support.xva_file import PIECE, read_xva, sizes_of, write_xva, xxh64

SIZES = (3 * PIECE, 2 * PIECE + 700)


@pytest.mark.parametrize('size', [0, 1, 3, 4, 7, 8, 31, 32, 33, 100, 4096])
def test_the_checksum_is_xxh64(size: int) -> None:
    data = os.urandom(size)
    assert xxh64(data) == '%016X' % xxhash.xxh64(data).intdigest()


def download(pool: BarePool, vm: BareVm, path: Path) -> None:
    """Get /export into a file, by a client of a few lines."""
    session = pool.answer('session.login_with_password', ['root', PASSWORD])
    context = ssl._create_unverified_context()
    host, port = pool.address.split(':')
    with context.wrap_socket(socket.create_connection((host, int(port)))) as client:
        client.sendall(('GET /export?uuid=%s&session_id=%s HTTP/1.0\r\n\r\n'
                        % (vm.uuid, session)).encode())
        text = b''.join(iter(lambda: client.recv(65536), b''))
    path.write_bytes(text.partition(b'\r\n\r\n')[2])
    pool.answer('session.logout', [session])


def pieces_of(content: Content) -> Dict[int, str]:
    return content.all_sums()


def test_what_the_fake_writes_another_reads(alpha: BarePool, tmp_path: Path) -> None:
    web = alpha.add_vm('web', SIZES, used=2)
    download(alpha, web, tmp_path / 'web.xva')
    xml, disks = read_xva(str(tmp_path / 'web.xva'))
    contents = alpha.contents(web.ref)
    assert sorted(sizes_of(xml).values()) == sorted(SIZES)
    assert sizes_of(xml) == read_sizes(xml)
    assert [{number: xxh64(piece) for number, piece in pieces.items()}
            for pieces in disks.values()] == [pieces_of(content) for content in contents]


@pytest.mark.parametrize('form', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_what_another_writes_arrives(mover: Mover, alpha: BarePool, beta: BarePool, tmp_path: Path,
                                     form: int) -> None:
    """Bytes that neither the fake nor the mover has made: every disk is as it was written."""
    web = alpha.add_vm('web', SIZES, used=2)
    download(alpha, web, tmp_path / 'web.xva')
    xml, _ = read_xva(str(tmp_path / 'web.xva'))
    wanted: Dict[str, List[Tuple[int, bytes]]] = {
        name: [(number, os.urandom(min(PIECE, size - number * PIECE))) for number in (0, 2)]
        for name, size in sizes_of(xml).items()}
    alpha.faults.raw = write_xva(xml, wanted, form)
    mover.fine('-sv', 'web')
    (ref,) = beta.db.objects['VM']
    assert [content.sums for content in beta.contents(ref)] == [
        {number: xxh64(piece) for number, piece in pieces}
        for _, pieces in sorted(wanted.items())]


def archive(sizes: Tuple[int, ...] = SIZES, quiet: Any = lambda name, number: False) -> bytes:
    """Return an archive of the fake's."""
    pieces: List[bytes] = []
    objects = [{'class': 'VDI', 'id': 'Ref:%d' % at, 'snapshot': {'virtual_size': str(size)}}
               for at, size in enumerate(sizes)]
    write(lambda data: pieces.append(bytes(data)), objects,
          [Packed('Ref:%d' % at, Content(size)) for at, size in enumerate(sizes)], quiet,
          lambda name, number: False)
    return b''.join(pieces)


ARCHIVE = archive()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, len(ARCHIVE) - 1), max_size=12))
def test_wherever_it_is_cut(places: List[int]) -> None:
    """Sockets cut a stream anywhere; only the whole is complete, and the share only grows."""
    follower, shares = Follower(), [0.0]
    borders = [0, *sorted(set(places)), len(ARCHIVE)]
    for begin, end in zip(borders, borders[1:]):
        if end - begin:
            if begin < len(ARCHIVE) - 1024:
                assert not follower.complete
            follower.feed(memoryview(ARCHIVE)[begin:end])
            shares.append(follower.fraction or 0.0)
    assert follower.complete and shares == sorted(shares) and shares[-1] == 1


def test_byte_by_byte() -> None:
    small = archive((300,))
    follower = Follower()
    for at in range(len(small)):
        follower.feed(small[at:at + 1])
    assert follower.complete and follower.fraction == 1


def test_empty_files_take_numbers_and_no_room() -> None:
    """Two of them between the first and the last of eight pieces, which has the number 9 then."""
    left = [7, 8]

    def quiet(name: str, number: int) -> bool:
        return bool(left) and number == left[0] and bool(left.pop(0))
    text = archive((8 * PIECE,), quiet)
    assert b'Ref:0/00000009' in text and len(text) == len(archive((8 * PIECE,))) + 6 * 512
    follower, last = Follower(), 512 + PIECE + 2 * 512 + 1024
    follower.feed(text[:-last])
    assert follower.fraction == 7 / 8
    follower.feed(text[-last:-1024])
    assert follower.fraction == 1 and not follower.ended


@pytest.mark.parametrize('text', [b'HTTP' * 200, bytes(2048), b'ova.xml'.ljust(512, b'\0') * 2])
def test_what_is_no_xva(text: bytes) -> None:
    with pytest.raises(HostError, match='no XVA'):
        Follower().feed(text)


@pytest.mark.parametrize('magic', [b'\x1f\x8b\x08', b'\x28\xb5\x2f\xfd'])
def test_compressed_is_passed_on(magic: bytes) -> None:
    follower = Follower()
    follower.feed(magic + os.urandom(5000))
    assert follower.opaque and follower.complete and follower.fraction is None


@pytest.mark.parametrize('xml', [b'', b'<value><struct>', b'<value><int>1</int></value>',
                                 b'\xff<value>', b'<?xml version="1.0"?><value></value>'])
def test_an_ova_xml_that_cannot_be_read_costs_the_percentage_only(xml: bytes) -> None:
    assert read_sizes(xml) == {}
