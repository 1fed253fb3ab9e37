"""What a flow does: `load:0x1->NXM_NX_REG15[0],resubmit(,208)` and OpenFlow's actions.

Most are Nicira's extensions; Open vSwitch's ofp-actions.c is where their shapes are
written down.
"""
from struct import Struct
from struct import error as StructError

from xsisolate.openflow.bundle import decode_bundle, encode_bundle
from xsisolate.openflow.fields import LOCAL
from xsisolate.openflow.learn import decode_learn, decode_limited, encode_learn, is_limited
from xsisolate.openflow.subfield import decode_subfield, encode_subfield, number, offset_and_bits
from xsisolate.typing_compat import Callable, Dict, Iterator

OUTPUT, PUSH_VLAN, POP_VLAN, EXPERIMENTER = 0, 17, 18, 0xffff
NICIRA = 0x2320
MOVE, LOAD, NOTE, BUNDLE, RESUBMIT, LEARN, CONTROLLER = 6, 7, 8, 12, 14, 16, 20
LEARN_LIMITED = 45
STACK_PUSH, STACK_POP, CT, CLONE, CT_CLEAR = 27, 28, 35, 42, 43
NORMAL, IN_PORT_OF_RESUBMIT = 0xfffffffa, 0xfff8

HEAD = Struct('!HH')                    # type, length
OUTPUT_BODY = Struct('!IH6x')           # port, how much of the frame a controller gets
PUSH_BODY = Struct('!H2x')
NICIRA_HEAD = Struct('!HHIH')           # type, length, vendor, subtype
RESUBMIT_BODY = Struct('!HB3x')         # port, table
LOAD_BODY = Struct('!HIQ')              # offset and bits, field, value
MOVE_BODY = Struct('!HHHII')            # bits, offsets, fields
STACK_BODY = Struct('!HIH6x')           # offset, field, bits
CT_BODY = Struct('!HIHB3xH')            # flags, zone's field and its bits, table, helper
CONTROLLER_BODY = Struct('!HHBx')       # how much of the frame, whose connections; why
BY_ACTION = 1
CT_COMMIT, NO_TABLE = 1, 255
HELPERS = {'tftp': 69, '': 0}          # by the port that a helper's protocol has
HEX = ['%02x' % byte for byte in range(256)]
RAW = 'raw'                             # an action that we do not know


def split(text: str) -> Iterator[str]:
    """Yield what commas separate, but not those in parentheses."""
    depth = begin = 0
    for at, char in enumerate(text):
        if char == '(':
            depth += 1
        elif char == ')':
            depth -= 1
        elif char == ',' and not depth:
            yield text[begin:at]
            begin = at + 1
    if text:
        yield text[begin:]


class ActionCodec:
    """Texts to bytes and back; what comes again and again is worked out once."""

    def __init__(self) -> None:
        self._written: Dict[str, bytes] = {}
        self._read: Dict[bytes, str] = {}

    def encode(self, text: str) -> bytes:
        """Return actions on the wire; `drop` is none."""
        if text == 'drop':
            return b''
        known = self._written.get(text)
        if known is None:
            known = self._written[text] = b''.join(map(self._encode_one, split(text)))
        return known

    def decode(self, data: bytes) -> str:
        """Return the text of actions; unknown actions keep their bytes."""
        known = self._read.get(data)
        if known is None:
            known = self._read[data] = ','.join(self._decode_each(data)) or 'drop'
        return known

    def _encode_one(self, text: str) -> bytes:
        known = self._written.get(text)
        if known is None:
            known = self._written[text] = self._encode_new(text)
        return known

    def _encode_new(self, text: str) -> bytes:
        for start, encode in ENCODERS.items():
            if text.startswith(start):
                return encode(text[len(start):])
        if text.startswith('ct('):
            return self._encode_ct(text[3:-1])
        if text.startswith('clone('):
            return nicira(CLONE, self.encode(text[6:-1]), exact=True)
        raise ValueError('an action that we do not know: %.80s' % text)

    def _encode_ct(self, text: str) -> bytes:
        """Return conntrack; only what we use of it."""
        flags, table, zone, helper, marking = 0, NO_TABLE, 'NXM_NX_REG13[]', '', b''
        for word in split(text):
            name, _, value = word.partition('=')
            if name == 'commit':
                flags |= CT_COMMIT
            elif name == 'table':
                table = int(value)
            elif name == 'zone':
                zone = value
            elif name == 'alg':
                helper = value
            elif name.startswith('exec('):
                marking = self.encode(word[len('exec('):-1])
            else:
                raise ValueError('conntrack with what we do not know: %.80s' % text)
        head, offset, bits = encode_subfield(zone)
        return nicira(CT, CT_BODY.pack(flags, head, offset_and_bits(offset, bits), table,
                                      HELPERS[helper])
                      + marking)

    def _decode_each(self, data: bytes) -> Iterator[str]:
        at = 0
        while at < len(data):
            length = HEAD.unpack_from(data, at)[1]
            action = data[at:at + max(length, 8)]
            at += max(length, 8)
            known = self._read.get(action)
            if known is None:
                try:
                    known = self._decode_one(action)
                except (ValueError, KeyError, StructError):
                    known = '%s(%s)' % (RAW, action.hex())
                self._read[action] = known
            yield known

    def _decode_one(self, action: bytes) -> str:
        kind = HEAD.unpack_from(action)[0]
        if kind == OUTPUT:
            return _decode_output(action)
        if kind == PUSH_VLAN:
            return 'push_vlan:0x%04x' % PUSH_BODY.unpack_from(action, 4)[0]
        if kind == POP_VLAN:
            return 'pop_vlan'
        if kind != EXPERIMENTER:
            raise ValueError('not ours')
        _, _, vendor, subtype = NICIRA_HEAD.unpack_from(action)
        if vendor != NICIRA:
            raise ValueError('not ours')
        body = action[NICIRA_HEAD.size:]
        if subtype == CLONE:
            return 'clone(%s)' % self.decode(body[6:])
        if subtype == CT:
            return 'ct(%s)' % _decode_ct(body, self.decode(body[CT_BODY.size:]))
        return DECODERS[subtype](body)


def nicira(subtype: int, body: bytes, exact: bool = False) -> bytes:
    """Return one of Nicira's actions, padded; `exact`: 6 bytes of padding come first."""
    if exact:
        body = bytes(6) + body
    size = NICIRA_HEAD.size + len(body)
    padded = size + -size % 8
    return NICIRA_HEAD.pack(EXPERIMENTER, padded, NICIRA, subtype) + body + bytes(padded - size)


def _encode_output(text: str) -> bytes:
    return HEAD.pack(OUTPUT, 16) + OUTPUT_BODY.pack(int(text), 0)


def _decode_output(action: bytes) -> str:
    port, _ = OUTPUT_BODY.unpack_from(action, 4)
    if port == NORMAL:
        return 'NORMAL'
    if port == LOCAL:
        return 'LOCAL'
    if port >= 0xffffff00:
        raise ValueError('a port with a name')
    return 'output:%d' % port


def _encode_normal(_: str) -> bytes:
    return HEAD.pack(OUTPUT, 16) + OUTPUT_BODY.pack(NORMAL, 0)


def _encode_local(_: str) -> bytes:
    return HEAD.pack(OUTPUT, 16) + OUTPUT_BODY.pack(LOCAL, 0)


def _encode_resubmit(text: str) -> bytes:
    return nicira(RESUBMIT, RESUBMIT_BODY.pack(IN_PORT_OF_RESUBMIT, int(text[:-1])))


def _decode_resubmit(body: bytes) -> str:
    port, table = RESUBMIT_BODY.unpack_from(body)
    return 'resubmit(%s,%d)' % ('' if port == IN_PORT_OF_RESUBMIT else port, table)


def _encode_load(text: str) -> bytes:
    value, _, target = text.partition('->')
    head, offset, bits = encode_subfield(target)
    return nicira(LOAD, LOAD_BODY.pack(offset_and_bits(offset, bits), head, int(value, 0)))


def _decode_load(body: bytes) -> str:
    packed, head, value = LOAD_BODY.unpack_from(body)
    return 'load:%s->%s' % (number(value), decode_subfield(head, packed >> 6, (packed & 0x3f) + 1))


def _encode_move(text: str) -> bytes:
    source, _, target = text.partition('->')
    head, offset, bits = encode_subfield(source)
    other, start, _ = encode_subfield(target)
    return nicira(MOVE, MOVE_BODY.pack(bits, offset, start, head, other))


def _decode_move(body: bytes) -> str:
    bits, offset, start, head, other = MOVE_BODY.unpack_from(body)
    return 'move:%s->%s' % (decode_subfield(head, offset, bits),
                            decode_subfield(other, start, bits))


def _stack_encoder(subtype: int) -> Callable[[str], bytes]:
    def encode(text: str) -> bytes:
        head, offset, bits = encode_subfield(text)
        return nicira(subtype, STACK_BODY.pack(offset, head, bits))
    return encode


def _stack_decoder(word: str) -> Callable[[bytes], str]:
    def decode(body: bytes) -> str:
        offset, head, bits = STACK_BODY.unpack_from(body)
        return '%s:%s' % (word, decode_subfield(head, offset, bits))
    return decode


def _encode_note(text: str) -> bytes:
    return nicira(NOTE, bytes.fromhex(text.replace('.', '')))


def _decode_note(body: bytes) -> str:
    return 'note:' + '.'.join([HEX[byte] for byte in body])


def _encode_controller(text: str) -> bytes:
    length, _, number = text[:-1].partition(',id=')
    return nicira(CONTROLLER, CONTROLLER_BODY.pack(int(length), int(number), BY_ACTION))


def _decode_controller(body: bytes) -> str:
    length, number, why = CONTROLLER_BODY.unpack_from(body)
    if why != BY_ACTION or not number:
        raise ValueError('not ours')
    return 'controller(max_len=%d,id=%d)' % (length, number)


def _decode_ct(body: bytes, marking: str) -> str:
    flags, head, packed, table, helper = CT_BODY.unpack_from(body)
    if flags & ~CT_COMMIT or not head:
        raise ValueError('conntrack with more than we use')
    words = ['commit'] * bool(flags) + ['table=%d' % table] * (table != NO_TABLE)
    words.append('zone=' + decode_subfield(head, packed >> 6, (packed & 0x3f) + 1))
    names = {number: name for name, number in HELPERS.items()}
    words += ['exec(%s)' % marking] * bool(body[CT_BODY.size:])
    return ','.join(words + ['alg=' + names[helper]] * bool(helper))


def _encode_learn(text: str) -> bytes:
    return nicira(LEARN_LIMITED if is_limited(text) else LEARN, encode_learn(text[:-1]))


def _encode_fixed(action: bytes) -> Callable[[str], bytes]:
    return lambda _: action


ENCODERS: Dict[str, Callable[[str], bytes]] = {
    'resubmit(,': _encode_resubmit, 'load:': _encode_load, 'move:': _encode_move,
    'output:': _encode_output, 'NORMAL': _encode_normal, 'LOCAL': _encode_local,
    'note:': _encode_note,
    'push:': _stack_encoder(STACK_PUSH), 'pop:': _stack_encoder(STACK_POP),
    'push_vlan:': lambda text: HEAD.pack(PUSH_VLAN, 8) + PUSH_BODY.pack(int(text, 0)),
    'pop_vlan': _encode_fixed(HEAD.pack(POP_VLAN, 8) + bytes(4)),
    'ct_clear': _encode_fixed(nicira(CT_CLEAR, b'')),
    'learn(': _encode_learn,
    'bundle(': lambda text: nicira(BUNDLE, encode_bundle(text[:-1])),
    'controller(max_len=': _encode_controller}
DECODERS: Dict[int, Callable[[bytes], str]] = {
    RESUBMIT: _decode_resubmit, LOAD: _decode_load, MOVE: _decode_move, NOTE: _decode_note,
    STACK_PUSH: _stack_decoder('push'), STACK_POP: _stack_decoder('pop'),
    CT_CLEAR: lambda _: 'ct_clear', LEARN: decode_learn,
    LEARN_LIMITED: decode_limited, BUNDLE: decode_bundle,
    CONTROLLER: _decode_controller}
