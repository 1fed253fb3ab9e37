"""Which packets a match is about, as far as two matches can be compared."""
from itertools import combinations

PROTOCOLS = {       # dl_type, nw_proto
    'ip': (0x0800,), 'ipv6': (0x86dd,), 'arp': (0x0806,), 'icmp': (0x0800, 1),
    'icmp6': (0x86dd, 58), 'tcp': (0x0800, 6), 'tcp6': (0x86dd, 6), 'udp': (0x0800, 17),
    'udp6': (0x86dd, 17), 'sctp': (0x0800, 132), 'sctp6': (0x86dd, 132)}
FLAGS = {'ct_state': ('new', 'est', 'rel', 'rpl', 'inv', 'trk'),
         'tcp_flags': ('fin', 'syn', 'rst', 'psh', 'ack')}


def parse_match(match):
    """Return {field: (value, mask)} with numbers for values."""
    fields = {}
    for field in filter(None, match.split(',')):
        name, equals, text = field.partition('=')
        if name == 'dl_vlan':
            fields['vlan_tci'] = (0x1000 | int(text), 0x1fff)
        elif equals:
            fields[name] = parse_value(name, text)
        else:
            for key, value in zip(('dl_type', 'nw_proto'), PROTOCOLS[name]):
                fields[key] = (value, -1)
    return fields


def parse_value(name, text):
    """Return (value, mask) of a field."""
    if name in FLAGS:
        bits = [(sign, 1 << FLAGS[name].index(flag)) for sign, flag in _signs(text)]
        return sum(bit for sign, bit in bits if sign == '+'), sum(bit for _, bit in bits)
    if name == 'nw_frag':
        return 1, 1
    value, slash, mask = text.partition('/')
    number, bits = parse_number(value)
    if not slash:
        return number, -1
    if mask.isdigit() and not mask.startswith('0x') and bits:
        mask_value = ((1 << bits) - 1) ^ ((1 << bits - int(mask)) - 1)
    else:
        mask_value = parse_number(mask)[0]
    return number & mask_value, mask_value


def parse_number(text):
    """Return a number and, for IP addresses, how many bits it has."""
    if text.count('.') == 3:
        return sum(int(part) << shift for part, shift in zip(text.split('.'), (24, 16, 8, 0))), 32
    if text.count(':') == 5 and '::' not in text and len(text) == 17:
        return int(text.replace(':', ''), 16), 0
    if ':' in text:
        from xsisolate.policy.address import parse_prefix
        return parse_prefix(text).value, 128
    if text == 'LOCAL':
        return 0xfffe, 0
    return int(text, 0), 0


def _signs(text):
    for part in text.replace('-', ' -').replace('+', ' +').split():
        yield part[0], part[1:]


def overlap(one, other):
    """Tell whether there may be a packet that both matches are about."""
    return all((one[name][0] ^ other[name][0]) & one[name][1] & other[name][1] == 0
               for name in one.keys() & other.keys())


def disagreements(flows):
    """Yield pairs of flows that one packet could meet and that do different things."""
    parsed = [(flow, parse_match(flow.match)) for flow in flows]
    for (one, first), (other, second) in combinations(parsed, 2):
        if one.actions != other.actions and overlap(first, second):
            yield one, other
