"""The action `learn`, by which the switch itself makes a flow of what it sees.

With a limit it is another action (NXAST_LEARN2, since Open vSwitch 2.8), which has more fields.
"""
from struct import Struct

from xsisolate.openflow.subfield import decode_subfield, encode_subfield, number
from xsisolate.typing_compat import Iterator, Tuple

BODY = Struct('!HHHQHBxHH')     # timeouts, priority, cookie, flags, table, padding, timeouts
LIMIT = Struct('!IH2x')         # how many flows; first bit of where to say whether there was room
RESULT = Struct('!I')           # its field's header
WRITE_RESULT = 1 << 2
FIELD = Struct('!IH')           # header, first bit
IMMEDIATE = 1 << 13             # a value instead of a field
MATCH, LOAD, OUTPUT = 0 << 11, 1 << 11, 2 << 11
BITS = 0x7ff


def encode_learn(text: str) -> bytes:
    """Return the action's body; `text` is what stands in the parentheses."""
    numbers = dict.fromkeys(('table', 'idle_timeout', 'hard_timeout', 'priority', 'cookie',
                             'limit'), 0)
    result, specs = '', b''
    for word in text.split(','):
        name, _, value = word.partition('=')
        if name in numbers:
            numbers[name] = int(value, 0)
        elif name == 'result_dst':
            result = value
        else:
            specs += _encode_spec(word)
    body = BODY.pack(numbers['idle_timeout'], numbers['hard_timeout'], numbers['priority'],
                     numbers['cookie'], WRITE_RESULT if result else 0, numbers['table'], 0, 0)
    if is_limited(text):
        header, offset, _ = encode_subfield(result)
        body += LIMIT.pack(numbers['limit'], offset) + RESULT.pack(header)
    return body + specs


def is_limited(text: str) -> bool:
    """Tell whether an action is the one with a limit; `text` is what stands in the parentheses."""
    return ',limit=' in text


def _encode_spec(word: str) -> bytes:
    if word.startswith('load:'):
        value, _, target = word[5:].partition('->')
        return _encode_value(LOAD, int(value, 0), target)
    if word.startswith('output:'):
        header, offset, bits = encode_subfield(word[7:])
        return (OUTPUT | bits).to_bytes(2, 'big') + FIELD.pack(header, offset)
    target, _, source = word.partition('=')
    if source.startswith('0') or source.isdigit():
        return _encode_value(MATCH, int(source, 0), target)
    header, offset, bits = encode_subfield(source or target)
    other, start, _ = encode_subfield(target)
    return (MATCH | bits).to_bytes(2, 'big') + FIELD.pack(header, offset) + FIELD.pack(other, start)


def _encode_value(kind: int, value: int, target: str) -> bytes:
    header, offset, bits = encode_subfield(target)
    return (kind | IMMEDIATE | bits).to_bytes(2, 'big') + value.to_bytes(
        (bits + 15) // 16 * 2, 'big') + FIELD.pack(header, offset)


def decode_learn(body: bytes) -> str:
    """Return the action's text; raise ValueError or KeyError if it does more than ours do."""
    return _decode(body, 0, (), BODY.size)


def decode_limited(body: bytes) -> str:
    """Return the text of the action with a limit, as `decode_learn` does."""
    limit, offset = LIMIT.unpack_from(body, BODY.size)
    at = BODY.size + LIMIT.size
    header, = RESULT.unpack_from(body, at)
    return _decode(body, WRITE_RESULT, (
        'limit=%d' % limit, 'result_dst=' + decode_subfield(header, offset, 1)), at + RESULT.size)


def _decode(body: bytes, allowed: int, more: Tuple[str, ...], at: int) -> str:
    idle, hard, priority, cookie, flags, table, fin_idle, fin_hard = BODY.unpack_from(body)
    if flags != allowed or fin_idle or fin_hard:
        raise ValueError('learn with what we do not use')
    words = ['table=%d' % table]
    words += ['idle_timeout=%d' % idle] * bool(idle) + ['hard_timeout=%d' % hard] * bool(hard)
    words += ['priority=%d' % priority, 'cookie=0x%x' % cookie, *more]
    return 'learn(%s)' % ','.join(words + list(_decode_specs(body, at)))


def _decode_specs(body: bytes, at: int) -> Iterator[str]:
    while at + 2 <= len(body):
        head = int.from_bytes(body[at:at + 2], 'big')
        kind, bits = head & ~BITS & ~IMMEDIATE, head & BITS
        at += 2
        if not head:
            return
        if head & IMMEDIATE:
            size = (bits + 15) // 16 * 2
            value = int.from_bytes(body[at:at + size], 'big')
            target = _read_field(body, at + size, bits)
            at += size + FIELD.size
            yield 'load:%s->%s' % (number(value), target) if kind == LOAD else (
                '%s=%s' % (target, number(value)))
            continue
        source = _read_field(body, at, bits)
        at += FIELD.size
        if kind == OUTPUT:
            yield 'output:' + source
            continue
        target = _read_field(body, at, bits)
        at += FIELD.size
        if kind == LOAD:
            raise ValueError('learn loads a field')
        yield target if source == target else '%s=%s' % (target, source)


def _read_field(body: bytes, at: int, bits: int) -> str:
    header, offset = FIELD.unpack_from(body, at)
    return decode_subfield(header, offset, bits)
