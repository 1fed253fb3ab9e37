"""What is programmed on a bridge, as items that refer to each other.

    port ──► endpoint ──► peer sets
                   └────► network ──► base, bridge

An item owns its flows by its cookie. What no port leads to is garbage, so
clean-up is not a feature of its own. Each item has a header, a flow that no
packet meets: it carries the item's name, its references and a digest of its
flows. So the switch itself is the only record of what is programmed: there is
no file that a crash could leave behind, and a hook reads a line per item
instead of every flow of the bridge.
"""
import re

from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.openflow.ownership import HEADER, OWNER, OWNER_MASK, REGISTRY
from xsisolate.planner.cookie import Key, Kind, parse_key
from xsisolate.quick_imports import sha256
from xsisolate.typing_compat import (Dict, FrozenSet, Iterable, Iterator, Mapping, NamedTuple,
                                     Optional, Tuple)

NOTE = 'note:'
HEX = ['%02x' % byte for byte in range(256)]
# What name and facts of a header look like; see item_facts.py. Another release's may not.
FORMS = {
    Kind.PORT: re.compile(r'(vif|tap)[0-9]+\.[0-9]+\|[0-9]+ (arrived )?(trunk)?'),
    Kind.ENDPOINT: re.compile(r'[0-9a-f]+ [0-9a-f:]{17}\|[^ ]+ [^ ]* ([0-9]+t?,?)* ([0-9]+,?)* '
                              r'([0-9a-f]+(\.[0-9a-f]+){3}[sl]?,?)*'),
    Kind.NETWORK: re.compile(r'[^ ]+ [^ ]+\|([0-9a-f]{32} [0-9a-f]{32})?')}


class Item(NamedTuple):
    """Something programmed on the bridge; `flows` is None where only the header is known."""

    key: Key
    name: str
    refs: Tuple[Key, ...] = ()
    facts: str = ''                 # what other items' flows depend on
    digest: str = ''
    flows: Optional[FrozenSet[Flow]] = None


Registry = Mapping[Key, Item]   # what a bridge carries
Items = Dict[Key, Item]         # what it should carry


class Record(NamedTuple):
    """What a bridge says is programmed on it, and the headers that say nothing to us."""

    items: Registry
    strays: FrozenSet[Flow]


def make_item(key: Key, name: str, flows: Iterable[Flow], refs: Iterable[Key] = (),
              facts: str = '') -> Item:
    """Return an item whose flows carry its cookie."""
    cookie = key.cookie
    # Of tens of thousands: that takes half the time of Flow(...).
    owned = frozenset([tuple.__new__(Flow, flow[:4] + (cookie,)) for flow in flows])
    return Item(key, name, tuple(sorted(refs)), facts, digest_flows(owned), owned)


def format_stamp(stamp: str, rest: object) -> str:
    """Return the facts of an item that is made of a file's content, by its stamp, and of the rest.

    So a hook need not read the file, and compile thousands of members on other hosts, to find that
    they are still the same.
    """
    return ' '.join([sha256(repr(part).encode()).hexdigest()[:32] for part in (stamp, rest)])


def is_merely_restamped(old: Item, new: Item) -> bool:
    """Tell whether two items differ in nothing but the stamp of the file of which they are made."""
    return (old.digest, old.facts.rpartition(' ')[2]) == (new.digest, new.facts.rpartition(' ')[2])


def digest_flows(flows: Iterable[Flow]) -> str:
    """Return a digest under which equal sets of flows are equal."""
    text = '\n'.join(sorted(['%d %d %s %s' % flow[:4] for flow in flows]))
    return sha256(text.encode()).hexdigest()[:32]


def header_flow(item: Item) -> Flow:
    """Return the flow that records an item on the switch."""
    refs = ' '.join('%x' % ref.number for ref in item.refs)
    text = '|'.join((item.name, refs, item.facts, item.digest))
    flow = make_flow(REGISTRY, 1, ['metadata=0x%x' % (HEADER | item.key.number)],
                     NOTE + format_note(text))
    return flow._replace(cookie=item.key.cookie | HEADER)


def format_note(text: str) -> str:
    """Return a text as the argument of the `note` action, padded as the switch pads it."""
    data = text.encode('ascii')
    data += b'\0' * (-(len(data) + 10) % 8)     # the action's own header is 10 bytes
    return '.'.join([HEX[byte] for byte in data])


def parse_registry(flows: Iterable[Flow]) -> Registry:
    """Return the items that the headers among `flows` record."""
    known: Dict[str, Key] = {}
    return {item.key: item for flow in flows for item in _parse_header(flow, known)}


def parse_record(notes: Iterable[Tuple[int, bytes]], strays: Iterable[Flow]) -> Record:
    """Return what headers record, from their cookies and the bytes of their notes."""
    known: Dict[str, Key] = {}
    unread = set(strays)
    items: Dict[Key, Item] = {}
    for cookie, note in notes:
        item = _parse_text(cookie & ~HEADER & 0xffffffff, note, known)
        if item is None:
            unread.add(_flow_of(cookie, note))
        else:
            items[item.key] = item
    return Record(items, frozenset(unread))


def _parse_header(flow: Flow, known: Dict[str, Key]) -> Iterator[Item]:
    if flow.table != REGISTRY or not is_ours(flow) or not flow.cookie & HEADER:
        return
    try:
        note = bytes.fromhex(flow.actions[len(NOTE):].replace('.', ''))
    except ValueError:
        return
    item = _parse_text(flow.cookie & ~HEADER & 0xffffffff, note, known)
    if item is not None:
        yield item


def _parse_text(number: int, note: bytes, known: Dict[str, Key]) -> Optional[Item]:
    """Return the item of a header, None if it was not written by us as we are now."""
    try:
        name, words, facts, digest = note.rstrip(b'\0').decode('ascii').split('|')
        key = parse_key(number)
        refs = words.split()
        for ref in refs:
            if ref not in known:
                known[ref] = parse_key(int(ref, 16))
    except ValueError:
        return None         # no plan desires it, so it goes
    if key.kind in FORMS and not FORMS[key.kind].fullmatch(name + '|' + facts):
        return None
    return Item(key, name, tuple([known[ref] for ref in refs]), facts, digest)


def _flow_of(cookie: int, note: bytes) -> Flow:
    """Return the header that has this note."""
    return make_flow(REGISTRY, 1, ['metadata=0x%x' % (cookie & 0xffffffff)],
                     NOTE + '.'.join([HEX[byte] for byte in note]))._replace(cookie=cookie)


def is_ours(flow: Flow) -> bool:
    """Tell whether a flow carries our cookie."""
    return flow.cookie & OWNER_MASK == OWNER


def reachable(items: Mapping[Key, Item], roots: Iterable[Key]) -> FrozenSet[Key]:
    """Return the keys of all items that the roots lead to, themselves included."""
    seen, waiting = set(), list(roots)
    while waiting:
        key = waiting.pop()
        if key in items and key not in seen:
            seen.add(key)
            waiting.extend(items[key].refs)
    return frozenset(seen)


def find_item(items: Mapping[Key, Item], kind: Kind, name: str, likely: int) -> Optional[Key]:
    """Return the key of the item of a kind that has a name; it is looked for at `likely` first."""
    key = Key(kind, likely)
    if key in items and items[key].name == name:
        return key
    for other, item in items.items():
        if other.kind is kind and item.name == name:
            return other
    return None


def find_or_add(items: Items, kind: Kind, name: str, likely: int) -> Key:
    """Return the key of the item of a kind that has a name, added at `likely`, or behind it."""
    found = find_item(items, kind, name, likely)
    if found is not None:
        return found
    key = Key(kind, likely)
    while key in items:
        key = Key(kind, key.id + 1)
    items[key] = Item(key, name)
    return key
