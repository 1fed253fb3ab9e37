"""What a flow matches: `dl_src=02:00:00:00:00:01,in_port=7` and OpenFlow's list of fields."""
from xsisolate.openflow.fields import MASKED, MATCHED, PROTOCOLS, Field, format_value, parse_value
from xsisolate.typing_compat import Dict, List, Optional, Tuple

NAMED: Dict[Tuple[str, str], Tuple[int, Field]] = {
    (field.name, field.under): (order, field) for order, field in enumerate(MATCHED)}
NUMBERED: Dict[int, Field] = {field.header: field for field in MATCHED}
# Registers hold the addresses of members by the ten thousand.
REGISTERS = {field.header.to_bytes(4, 'big'): field.name + '=' for field in MATCHED
             if field.form == 'number'}
# ... which OpenFlow 1.5 has, and before it an extension of the Open Networking Foundation.
ONF = bytes.fromhex('4f4e4600')
EXTENSION = 0xffff
NUMBERED.update({kind << 16 | 42 << 9 | 2: NAMED['tcp_flags', 'tcp'][1]
                 for kind in (0x8000, EXTENSION)})
DL_TYPE, NW_PROTO = NAMED['dl_type', ''], NAMED['nw_proto', '']
VLAN_VID = 0xfff
VLAN_PRESENT = 0x1000
RAW = 'oxm'             # a field that we do not know, kept as it is

Piece = Tuple[int, bytes]       # where it goes, and the field on the wire


class MatchCodec:
    """Texts to bytes and back; fields that come again and again are worked out once."""

    def __init__(self) -> None:
        self._written: Dict[Tuple[str, str], List[Piece]] = {}
        self._read: Dict[bytes, Tuple[str, str]] = {}

    def encode(self, match: str) -> bytes:
        """Return a match's fields as they go over the wire, without header and padding."""
        words = match.split(',') if match else []
        under = ''
        for word in words:
            if word in PROTOCOLS:
                under = PROTOCOLS[word][2]
        pieces: List[Piece] = []
        for word in words:
            known = self._written.get((word, under))
            if known is None:
                known = self._written[word, under] = _encode_word(word, under)
            pieces += known
        return b''.join([piece for _, piece in sorted(pieces)])

    def decode(self, data: bytes) -> str:
        """Return the sorted text of a match's fields."""
        words: List[str] = []
        ether, proto = '', ''
        known = self._read
        at, end = 0, len(data)
        while at < end:
            following = at + 4 + data[at + 3]
            piece = data[at:following]
            if piece not in known:
                known[piece] = _decode_piece(piece)
            name, text = known[piece]
            if not name:
                words.append(text)
            elif name == DL_TYPE[1].name:
                ether = text
            else:
                proto = text
            at = following
        if ether or proto:
            words += _name_protocol(ether, proto)
        words.sort()
        return ','.join(words)


def _encode_word(word: str, under: str) -> List[Piece]:
    """Return the fields that one word of a match stands for."""
    name, _, text = word.partition('=')
    if word in PROTOCOLS:
        ether, proto, _ = PROTOCOLS[word]
        return [_piece(DL_TYPE, ether)] + ([_piece(NW_PROTO, proto)] if proto else [])
    if name == RAW:
        return [(len(MATCHED), bytes.fromhex(text))]    # after all that it may depend on
    if name == 'dl_vlan':
        return [_piece(NAMED['vlan_tci', ''], VLAN_PRESENT | int(text))]
    found = NAMED.get((name, '')) or NAMED[name, under]
    value, mask = parse_value(found[1], text)
    return [_piece(found, value, mask)]


def _piece(found: Tuple[int, Field], value: int, mask: Optional[int] = None) -> Piece:
    order, field = found
    if mask is None or mask == (1 << 8 * field.length) - 1:
        return order, field.header.to_bytes(4, 'big') + value.to_bytes(field.length, 'big')
    return order, ((field.header | MASKED) + field.length).to_bytes(4, 'big') + value.to_bytes(
        field.length, 'big') + mask.to_bytes(field.length, 'big')


def _decode_piece(piece: bytes) -> Tuple[str, str]:
    """Return ('', word) of a field; of the protocols' fields (name, number)."""
    register = REGISTERS.get(piece[:4])
    if register:
        value = int.from_bytes(piece[4:], 'big')
        return '', register + ('0x%x' % value if value else '0')
    head = int.from_bytes(piece[:4], 'big')
    masked = head & MASKED
    data = piece[8:] if head >> 16 == EXTENSION and piece[4:8] == ONF else piece[4:]
    field = NUMBERED.get((head & ~0x1ff) | len(data) // (2 if masked else 1))
    if field is None:
        return '', '%s=%s' % (RAW, piece.hex())
    value = int.from_bytes(data[:field.length], 'big')
    mask = int.from_bytes(data[field.length:], 'big') if masked else (1 << 8 * field.length) - 1
    if field.name in ('dl_type', 'nw_proto') and not masked:
        return field.name, '%d' % value
    if field.form == 'vlan' and mask in (0xffff, VLAN_PRESENT | VLAN_VID) and value & VLAN_PRESENT:
        return '', 'dl_vlan=%d' % (value & VLAN_VID)
    try:
        return '', '%s=%s' % (field.name, format_value(field, value, mask))
    except ValueError:
        return '', '%s=%s' % (RAW, piece.hex())


def _name_protocol(ether: str, proto: str) -> List[str]:
    """Return the words for an Ethernet type and an IP protocol."""
    for name, (ether_type, number, _) in PROTOCOLS.items():
        if ether == str(ether_type) and proto == (str(number) if number else ''):
            return [name]
    for name in ('ip', 'ipv6'):
        if ether == str(PROTOCOLS[name][0]):
            return [name, 'nw_proto=' + proto]
    return (['dl_type=0x%04x' % int(ether)] if ether else []) + (
        ['nw_proto=' + proto] if proto else [])
