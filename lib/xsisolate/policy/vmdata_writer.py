"""Policies of a VM's VIFs -> the keys of vm-data that say exactly this and nothing else.

What was below vm-data/xsisolate before is not looked at: a key that the guest has put there, and
that no seal covers because another key replaces it, cannot come to count this way.
"""
import re
from typing import Dict, Iterable, List, Mapping, Optional

from xsisolate.errors import PolicyError
from xsisolate.policy.address import quoted
from xsisolate.policy.model import VifPolicy
from xsisolate.policy.seal import format_policy
from xsisolate.policy.vmdata_parser import (COMMON_KEYS, ROOT, SEPARATORS, VIF_KEYS, WORD_KEYS,
                                            parse_vmdata)

VALUE_MAX = 2048        # bytes; xenstored refuses longer ones
# A folder's listing leaves out nodes without a value, so XAPI would forget an empty list.
EMPTY = ','

Policies = Mapping[str, Optional[VifPolicy]]        # by device; None: no policy


def lay_out(policies: Policies) -> Dict[str, str]:
    """Return all keys below vm-data/xsisolate for these VIFs, with values that fit.

    What all VIFs have in common is written for the VM.
    """
    written = {devid: format_policy(policy or VifPolicy())
               for devid, policy in policies.items()}
    keys: Dict[str, str] = {}
    for name in VIF_KEYS:
        values = {devid: canonical[name] for devid, canonical in written.items()
                  if name in canonical}
        if not values:
            continue
        first = next(iter(values.values()))
        if name in COMMON_KEYS and len(values) == len(written) and all(
                value == first for value in values.values()):
            values = {'': first}
        for devid, value in values.items():
            where = 'vif/%s/%s' % (devid, name) if devid else name
            keys.update({where: value} if isinstance(value, str) else split_list(where, value))
    return keys


def split_list(key: str, items: Iterable[str]) -> Dict[str, str]:
    """Return a list's value, going on in numbered keys where it is too long.

    >>> split_list('groups', ['red', 'blue'])
    {'groups': 'red blue'}
    """
    values = ['']
    for item in items:
        if len(item) > VALUE_MAX:
            raise PolicyError('%s: %s is longer than a value may be' % (key, quoted(item)))
        longer = (values[-1] + ' ' + item).lstrip()
        if len(longer) <= VALUE_MAX:
            values[-1] = longer
        else:
            values.append(item)
    return {key + ('-%d' % number if number else ''): value or EMPTY
            for number, value in enumerate(values)}


def replace_policy(data: Mapping[str, str], policies: Policies) -> Dict[str, str]:
    """Return a VM's xenstore_data with these policies, and all that is not ours as it was."""
    kept = {key: value for key, value in data.items() if not is_ours(key)}
    return {**kept, **{ROOT + key: value for key, value in lay_out(policies).items()}}


def is_ours(key: str) -> bool:
    """Tell whether a key of xenstore_data belongs to a policy."""
    return key.startswith(ROOT) or key == ROOT[:-1]


def parse_words(words: Mapping[str, str], devid: str) -> VifPolicy:
    """Return the policy in an admin's words, by key; raise PolicyError as vm-data would.

    >>> sorted(parse_words({'groups': 'red, blue'}, '0').groups)
    ['blue', 'red']
    """
    keys: Dict[str, str] = {}
    for name, text in words.items():
        if name in WORD_KEYS:
            keys[name] = text
        else:
            items: List[str] = [item for item in SEPARATORS.split(text) if item]
            keys.update(split_list(name, items))
    values = {key: value.encode('utf-8', 'surrogateescape') for key, value in keys.items()}
    return parse_vmdata({}, values, devid) or VifPolicy()


def replace_keys(policy: VifPolicy, other: VifPolicy, names: Iterable[str]) -> VifPolicy:
    """Return a policy with some keys as another policy has them."""
    names = list(names)
    sources = [source for source in policy.sources if source.key not in names]
    sources += [source for source in other.sources if source.key in names]
    return policy._replace(sources=frozenset(sources),
                           **{name: getattr(other, name) for name in names})


def as_words(policy: Optional[VifPolicy]) -> str:
    """Return a policy in one line: `mode=isolated groups=red,blue`."""
    keys = format_policy(policy or VifPolicy())
    return ' '.join('%s=%s' % (name, value if isinstance(value, str) else ','.join(value))
                    for name, value in sorted(keys.items(),
                                              key=lambda item: VIF_KEYS.index(item[0]))) or 'none'


def natural(devid: str) -> int:
    """Return a device number to sort by."""
    return int(devid) if re.fullmatch('[0-9]{1,9}', devid) else -1
