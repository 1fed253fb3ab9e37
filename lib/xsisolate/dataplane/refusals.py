"""What this host's switch has refused, with whose ports and MAC addresses these are."""
from time import time
from typing import Dict, Iterable, List, Optional, Tuple

from xsisolate.dataplane.switch_state import read_registry
from xsisolate.dom0.ovs.ofctl import dump_record
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.ovs.unixctl import read_process
from xsisolate.dom0.run_files.refused import read_record, write_record
from xsisolate.errors import HostError
from xsisolate.openflow.ownership import MARKED, RECORDED
from xsisolate.planner.cookie import Kind
from xsisolate.planner.item_facts import parse_facts, parse_port_facts, split_endpoint
from xsisolate.planner.items import Registry
from xsisolate.planner.refusal_book import Book, Owner, Reading, Sum, parse_book
from xsisolate.planner.refusal_record import parse_marked, parse_seen
from xsisolate.vif_id import parse_netdev


def read_book() -> Optional[Book]:
    """Return what the daemon has kept; None if nothing, HostError if it cannot be read."""
    content = read_record()
    return None if content is None else parse_book(content)


def write_book(book: Book) -> None:
    """Keep a book for commands, and for the next daemon."""
    write_record(book.describe())


def read_now(book: Book) -> Dict[Sum, int]:
    """Take in what the switch holds now; return by how much each sum has grown.

    A bridge that speaks other versions of OpenFlow only is passed over; `status` says so.
    """
    with Ovsdb() as ovsdb:
        names = [bridge.name for bridge in ovsdb.read_bridges()]
    readings: List[Reading] = []
    failures: List[HostError] = []
    for name in names:
        try:
            readings += _read(name)
        except HostError as error:
            failures.append(error)
    if failures and not readings:
        raise failures[0]
    return book.take(time(), read_process(), readings, bool(failures))


def _read(bridge: str) -> Iterable[Reading]:
    """Yield what a bridge's switch holds; nothing of one that has no flow of ours."""
    registry = read_registry(bridge)
    if not registry:
        return
    text = ''.join(dump_record(bridge, table) for table in (RECORDED, MARKED))
    ports, macs = find_owners(registry)
    yield Reading(bridge, tuple(parse_seen(text)), tuple(parse_marked(text)), ports, macs)


def find_owners(registry: Registry) -> Tuple[Dict[int, Owner], Dict[Tuple[int, str], Owner]]:
    """Return whose a bridge's ports, and the MAC addresses on its networks, are."""
    ports: Dict[int, Owner] = {}
    macs: Dict[Tuple[int, str], Owner] = {}
    for item in registry.values():
        if item.key.kind is not Kind.PORT:
            continue
        endpoints: List[Tuple[Tuple[int, str], str]] = [
            (split_endpoint(registry[ref]), parse_facts(registry[ref]).vm_uuid)
            for ref in item.refs if ref in registry and registry[ref].facts]
        owner = Owner(parse_netdev(item.name).vif, endpoints[0][1] if endpoints else '')
        ports[parse_port_facts(item).ofport] = owner
        macs.update((where, owner) for where, _ in endpoints)
    return ports, macs
