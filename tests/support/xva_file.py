"""XVA once more, by a few lines that share no code with the mover or the fake hosts.

Written with tarfile and read with tarfile; the checksums (XXH64, as its specification has it) by
hand.
"""
import io
import tarfile
from typing import Dict, List, Tuple
from xml.etree import ElementTree

PRIMES = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
          0x27D4EB2F165667C5)
MASK = (1 << 64) - 1
PIECE = 1 << 20


def turn(value: int, bits: int) -> int:
    """Return 64 bits turned to the left."""
    return (value << bits | value >> (64 - bits)) & MASK


def mix(state: int, lane: int) -> int:
    """Return a round's result."""
    return turn((state + lane * PRIMES[1]) & MASK, 31) * PRIMES[0] & MASK


def xxh64(data: bytes) -> str:
    """Return XXH64 with seed 0, as XAPI writes it."""
    at, size = 0, len(data)
    if size >= 32:
        states = [PRIMES[0] + PRIMES[1] & MASK, PRIMES[1], 0, -PRIMES[0] & MASK]
        while at + 32 <= size:
            states = [mix(state, int.from_bytes(data[at + 8 * n:at + 8 * n + 8], 'little'))
                      for n, state in enumerate(states)]
            at += 32
        total = sum(turn(state, bits) for state, bits in zip(states, (1, 7, 12, 18))) & MASK
        for state in states:
            total = ((total ^ mix(0, state)) * PRIMES[0] + PRIMES[3]) & MASK
    else:
        total = PRIMES[4]
    total = (total + size) & MASK
    while at + 8 <= size:
        total ^= mix(0, int.from_bytes(data[at:at + 8], 'little'))
        total, at = (turn(total, 27) * PRIMES[0] + PRIMES[3]) & MASK, at + 8
    if at + 4 <= size:
        total ^= int.from_bytes(data[at:at + 4], 'little') * PRIMES[0] & MASK
        total, at = (turn(total, 23) * PRIMES[1] + PRIMES[2]) & MASK, at + 4
    for byte in data[at:]:
        total = turn(total ^ byte * PRIMES[4] & MASK, 11) * PRIMES[0] & MASK
    total = (total ^ total >> 33) * PRIMES[1] & MASK
    total = (total ^ total >> 29) * PRIMES[2] & MASK
    return '%016X' % (total ^ total >> 32)


def read_xva(path: str) -> Tuple[bytes, Dict[str, Dict[int, bytes]]]:
    """Return ova.xml, and each disk's pieces by their numbers; every checksum is looked at."""
    disks: Dict[str, Dict[int, bytes]] = {}
    with tarfile.open(path, 'r:') as archive:
        names = archive.getnames()
        assert names[0] == 'ova.xml' and len(set(names)) == len(names)
        files = {name: archive.extractfile(name).read() for name in names}  # type: ignore
    for name in names[1:]:
        disk, _, number = name.partition('/')
        if name.endswith('.xxhash'):
            assert files[name].decode() == xxh64(files[name[:-len('.xxhash')]])
        else:
            assert names[names.index(name) + 1] == name + '.xxhash' and len(number) == 8
            disks.setdefault(disk, {})[int(number)] = files[name]
    assert list(disks) == sorted(disks)
    assert all(list(pieces) == sorted(pieces) for pieces in disks.values())
    return files['ova.xml'], disks


def write_xva(xml: bytes, disks: Dict[str, List[Tuple[int, bytes]]], form: int) -> bytes:
    """Return an archive of these pieces, in one of tarfile's formats."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=form) as archive:
        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        add('ova.xml', xml)
        for disk, pieces in sorted(disks.items()):
            for number, data in pieces:
                add('%s/%08d' % (disk, number), data)
                add('%s/%08d.xxhash' % (disk, number), xxh64(data).encode())
    return out.getvalue()


def sizes_of(xml: bytes) -> Dict[str, int]:
    """Return the disks' sizes, by their names in the archive, read as plain XML."""
    found = {}
    for struct in ElementTree.fromstring(xml).iter('struct'):
        members = {str(member.findtext('name')): member.find('value')
                   for member in struct.findall('member')}
        kind, snapshot = members.get('class'), members.get('snapshot')
        if kind is None or snapshot is None or ''.join(kind.itertext()).strip() != 'VDI':
            continue
        fields = {str(member.findtext('name')): ''.join(member.find('value').itertext())  # type: ignore
                  for member in snapshot.iter('member')}
        found[''.join(members['id'].itertext()).strip()] = int(fields['virtual_size'])  # type: ignore
    return found
