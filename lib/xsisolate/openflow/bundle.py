"""The `bundle` action: a frame goes to one of several ports."""
from struct import Struct

BODY = Struct('!HHHIHHI4x')             # algorithm, hashed, basis, kind, count, bits, field
ALGORITHMS = {'active_backup': 0, 'hrw': 1}
HASHED = {'eth_src': 0}
PORT_KIND = 0x00000002                  # NXM_OF_IN_PORT: members are OpenFlow ports


def encode_bundle(text: str) -> bytes:
    """Return the action's body; `text` is what is in its parentheses."""
    head, _, members = text.partition(',members:')
    hashed, basis, algorithm, _ = head.split(',')
    ports = [int(port) for port in members.split(',')]
    body = BODY.pack(ALGORITHMS[algorithm], HASHED[hashed], int(basis), PORT_KIND, len(ports), 0, 0)
    return body + Struct('!%dH' % len(ports)).pack(*ports)


def decode_bundle(body: bytes) -> str:
    """Return the action's text; raise ValueError or KeyError if it does more than ours do."""
    algorithm, hashed, basis, kind, count, bits, target = BODY.unpack_from(body)
    if kind != PORT_KIND or bits or target:
        raise ValueError('a bundle that stores its choice')
    names = {number: name for name, number in ALGORITHMS.items()}
    ports = Struct('!%dH' % count).unpack_from(body, BODY.size)
    fields = {number: name for name, number in HASHED.items()}
    return 'bundle(%s,%d,%s,ofport,members:%s)' % (fields[hashed], basis, names[algorithm],
                                                   ','.join(map(str, ports)))
