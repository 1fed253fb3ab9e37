"""Text that may be shown to anybody: every uuid, address and name is another, the same each time.

What stands for what is counted, not computed: from a report nobody can find back. Addresses are
hidden also where flows have them as numbers, and what flows note of items is left out.
"""
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Callable, Dict, FrozenSet, Iterable, Match

HEX = '[0-9a-fA-F]'
UUID = re.compile('(?<!%s)%s{8}(?:-%s{4}){3}-%s{12}(?!%s)' % ((HEX,) * 5))
# Seals, and uuids without their dashes.
DIGEST = re.compile('(?<!%s)(?<!0x)%s{16,}(?!%s)' % ((HEX,) * 3))
MAC = re.compile('(?<![0-9a-fA-F:])(?:%s{2}:){5}%s{2}(?![0-9a-fA-F:])' % (HEX, HEX))
MAC_PLAIN = ('00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff', '01:00:00:00:00:00', 'fe:ff:ff:ff:ff:ff')
IPV6 = re.compile(r'(?<![0-9a-fA-F:.])%s{0,4}(?::%s{0,4}){2,7}(?:\.[0-9.]+)?(?![0-9a-fA-F:])'
                  % (HEX, HEX))
IPV4 = re.compile(r'(?<![0-9.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9.]*[0-9])')
# What says nothing of a host: unspecified, loopback, all nodes, all routers, solicited nodes.
PLAIN = frozenset(map(ip_address, (
    '0.0.0.0', '127.0.0.1', '255.255.255.255', '224.0.0.251', '::', '::1', 'fe80::', 'ff00::',
    'ff02::', 'ff02::1', 'ff02::2', 'ff02::16', 'ff02::fb', 'ff02::1:2', 'ff02::1:ff00:0')))
MASKS = frozenset(IPv4Address((0xffffffff << 32 - length) & 0xffffffff) for length in range(8, 33))
# The registers in which flows hold addresses: of a party 4 to 7, MAC addresses 8 to 11.
REGISTER = re.compile(r'\b(reg(?:[4-9]|1[01])=|xxreg[12]=)(0x%s+)' % HEX)
LOAD = re.compile(r'\bload:(0x%s+)(?=->NXM_NX_(?:REG(?:[4-9]|1[01])|XXREG[12])\b)' % HEX)
SET = re.compile(r'\b(set_field:)(0x%s+)(?=(?:/0x%s+)?->(?:reg(?:[4-9]|1[01])|xxreg[12])\b)'
                 % (HEX, HEX))
NOTE = re.compile(r'\bnote:([0-9a-f]{2}(?:\.[0-9a-f]{2})*)')


CUT = 16                    # so much of a long name is enough to be one
INSIDE = re.compile(r'[\w-]')       # beside a name: then it is a part of another word


class Pseudonyms:
    """Hides what tells one host from another; `names` are VMs', groups', networks' and hosts'."""

    def __init__(self, names: Iterable[str]) -> None:
        self._known: Dict[str, Dict[str, str]] = {}
        # the longest first: one may be in another
        self._names = sorted({name for name in names if name}, key=lambda name: (-len(name), name))

    def hide(self, text: str) -> str:
        """Return a text with everything hidden that is to be."""
        for name in self._names:
            for form in sorted(_forms(name), key=len, reverse=True):
                text = self._hide_name(text, name, form)
        text = UUID.sub(self._by('uuid', '00000000-0000-4000-8000-%012d'), text)
        text = NOTE.sub(lambda found: 'note:(%d bytes)' % len(found.group(1).split('.')), text)
        for pattern in (REGISTER, SET):
            text = pattern.sub(lambda found: found.group(1) + self._number(found.group(2)), text)
        text = LOAD.sub(lambda found: 'load:' + self._number(found.group(1)), text)
        text = MAC.sub(self._mac, text)
        text = IPV6.sub(self._address, text)
        text = IPV4.sub(self._address, text)
        return DIGEST.sub(self._by('digest', 'digest-%d'), text)

    def _hide_name(self, text: str, name: str, form: str) -> str:
        """Hide a name in one of the forms in which it is shown, also where that is cut."""
        start, parts, done = form[:CUT], [], 0
        at = text.find(start)
        while at >= 0:
            end = at + len(start)
            while end < at + len(form) and text[end:end + 1] == form[end - at]:
                end += 1
            whole = end == at + len(form)
            if not INSIDE.match(text[max(at - 1, 0):at]) and not (
                    whole and INSIDE.match(text[end:end + 1])):
                parts += [text[done:at], self._stand_in('name', name, 'name-%d')]
                done = end
            at = text.find(start, end)
        return ''.join(parts) + text[done:]

    def _by(self, kind: str, form: str) -> Callable[[Match[str]], str]:
        return lambda found: self._stand_in(kind, found.group().lower(), form)

    def _stand_in(self, kind: str, value: str, form: str) -> str:
        known = self._known.setdefault(kind, {})
        if value not in known:
            known[value] = form % (len(known) + 1)
        return known[value]

    def _number(self, text: str) -> str:
        return self._stand_in('number', '%x' % int(text, 16), '0xf%04x')

    def _mac(self, found: Match[str]) -> str:
        mac = found.group().lower()
        if mac in MAC_PLAIN:
            return found.group()
        number = self._stand_in('mac', mac, '%06x')
        return '02:00:00:%s:%s:%s' % (number[:2], number[2:4], number[4:])

    def _address(self, found: Match[str]) -> str:
        try:
            address = ip_address(found.group())
        except ValueError:
            return found.group()        # a time of day, a version
        if address in PLAIN or address in MASKS:
            return found.group()
        if isinstance(address, IPv6Address):
            return str(ip_address('2001:db8::' + self._stand_in('ipv6', str(address), '%x')))
        number = int(self._stand_in('ipv4', str(address), '%d'))
        return str(IPv4Address((10 << 24) + number))


def _forms(name: str) -> FrozenSet[str]:
    """Return how a name may be shown: as it is, or with escapes."""
    return frozenset((name, ascii(name)[1:-1], name.encode('ascii', 'backslashreplace').decode(),
                      name.encode('unicode_escape').decode()))
