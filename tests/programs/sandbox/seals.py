"""Seals as another tool would make them: written from docs/seal.md, with Python's `ipaddress`.

It shares no line with the product, so that each checks the other.
"""
import hashlib
import ipaddress
import json
import re
from typing import Dict, List, Mapping, Union

from sandbox.metadata import VifRecord

BLANKS = ' \t\r\n'
WORD_KEYS = ('mode', 'permissive')
LISTS = ('groups', 'allow', 'ipv4', 'ipv6', 'shared', 'roles', 'mac')
# Protocols that have a name go by it.
NUMBERED = {'ip/1': 'icmp', 'ip/6': 'tcp', 'ip/17': 'udp', 'ip/47': 'gre', 'ip/50': 'esp',
            'ip/51': 'ah', 'ip/58': 'icmp6', 'ip/132': 'sctp'}
WORDS = {'ipv4': ('dhcp',), 'ipv6': ('dhcp', 'slaac')}
Keys = Dict[str, Union[str, List[str]]]


def seal(vm_uuid: str, vif: VifRecord, policy: Mapping[str, str]) -> str:
    """Return a VIF's seal; `policy` are the keys below vm-data/xsisolate."""
    keys = effective(policy, vif.devid)
    return '1:' + digest({'vm': vm_uuid.lower(), 'device': str(vif.devid), 'mac': vif.mac.lower(),
                          'policy': keys}) + mark(keys)


def portable_seal(devid: int, policy: Mapping[str, str]) -> str:
    """Return the seal that a VIF has in every copy of its VM."""
    keys = effective(policy, devid)
    return '2:' + digest({'device': str(devid), 'policy': keys}) + mark(keys)


def mark(keys: Keys) -> str:
    """Return what stands behind the digest: that no change of vm-data makes the VIF permissive."""
    return ':enforced' if keys.get('permissive') == 'no' else ''


def digest(sealed: Mapping[str, object]) -> str:
    """Return the SHA-256 over one line of JSON."""
    text = json.dumps(sealed, sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(text.encode()).hexdigest()


def effective(policy: Mapping[str, str], devid: int) -> Keys:
    """Return the keys that count for one VIF, normalised."""
    found: Keys = {}
    for where in ('', 'vif/%d/' % devid):       # the VIF's own replace the VM's
        for name in WORD_KEYS:
            if where + name in policy:
                found[name] = policy[where + name].strip(BLANKS)
        for name in LISTS:
            parts = [value for key, value in sorted(policy.items())
                     if re.fullmatch(re.escape(where + name) + r'(-\d+)?', key)]
            if parts:
                words = re.split('[,%s]+' % BLANKS, ' '.join(parts))
                found[name] = sorted({normal(name, word) for word in words if word})
    return found


def normal(name: str, word: str) -> str:
    """Return one entry of a list in its only spelling."""
    if name in ('groups', 'roles') or word in WORDS.get(name, ()):
        return word
    if name == 'mac':
        return word.lower()
    if word == 'any':
        return '0.0.0.0/0' if name == 'ipv4' else '::/0'
    direction, word = word.split(':', 1) if re.match('(in|out):', word) else ('', word)
    what, at, where = word.rpartition('@')
    if not at:
        where, _, what = word.partition(';')
    if where != 'external':
        network = ipaddress.ip_network(where)
        where = str(network.network_address if network.prefixlen == network.max_prefixlen
                    else network)
    first, dash, last = what.partition('-')
    if dash and first.partition('/')[2] == last:
        what = first
    what = NUMBERED.get(what, what)
    return (direction and direction + ':') + where + (what and ';' + what)
