"""A bridge's ports, sorted into what the pipeline must know about them."""
from xsisolate.pipeline.delivery import Topology
from xsisolate.quick_imports import sha256
from xsisolate.typing_compat import Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple
from xsisolate.vif_id import VIF_NETDEV

LOCAL = 'LOCAL'
# XAPI's internal management network: what is elsewhere beyond the uplink, Dom0 itself is here.
DOM0_NETWORK = 'xenapi'
LABEL_BITS = 12         # at most: some of them may be the same
TRIES = 64              # of labels for a bridge; one is mostly enough, two nearly always
FEW = 8                 # bridges, among which each label can have a bit of its own


class Link(NamedTuple):
    """One interface of a bridge's port; a bond has several with the same port."""

    port: str
    interface: str
    ofport: int
    internal: bool                  # Dom0's own
    tag: Optional[int]              # the access VLAN; None: a trunk
    active: bool = True             # of a bond: the member that carries broadcasts
    odd: bool = False               # a VLAN mode that we do not judge
    balanced: bool = False          # of a bond: all members carry traffic


def make_topology(bridge: str, links: Iterable[Link], snooping: bool, secure: bool = False,
                  served: Tuple[Tuple[str, int], ...] = (),
                  bridges: Iterable[str] = ()) -> Topology:
    """Return the uplinks and the other ports of a bridge; `bridges` are all of the host.

    What is neither a VIF's netdev nor Dom0's own leads out of the host:
    physical NICs, bonds, tunnels, patches to other bridges. On XAPI's internal
    management network Dom0 serves DHCP, and is in the place of an uplink.
    """
    links = sorted(links, key=lambda link: (link.port, not link.active, link.ofport))
    leading_out = [link for link in links if _is_uplink(link)] or [
        link for link in links if link.interface == bridge == DOM0_NETWORK]
    uplinks = {link.port: tuple(other.ofport for other in links if other.port == link.port)
               for link in leading_out}
    inside = [link for link in links if link not in leading_out]
    others = tuple(sorted(_others(bridge, inside), key=str))
    balanced = frozenset(uplinks[link.port][0] for link in leading_out if link.balanced)
    return Topology(tuple(uplinks[name] for name in sorted(uplinks)), others, snooping, balanced,
                    secure, served, label_of(bridge, bridges))


def label_of(bridge: str, bridges: Iterable[str] = ()) -> int:
    """Return some of a connection label's 128 bits, which tell a bridge from the host's others.

    No label covers another; of few bridges none is covered by all others together, of many none
    by five, as good as certainly. Where labels by the name alone do not come to that, the bridge
    whose name sorts last takes another.
    """
    taken: List[int] = []
    for name in sorted({bridge, *bridges}):
        label, attempt = _make_label(name, 0), 0
        while _collides(taken, label) and attempt < TRIES:
            attempt += 1
            label = _make_label(name, attempt)
        if name == bridge:
            break
        taken.append(label)
    return label


def _make_label(name: str, attempt: int) -> int:
    label = 0
    for byte in sha256(('%s %d' % (name, attempt) if attempt else name).encode()
                       ).digest()[:LABEL_BITS]:
        label |= 1 << byte % 128
    return label


def _collides(taken: List[int], label: int) -> bool:
    """Tell whether labels would be covered, the new one or one that is taken."""
    if any([not label & ~other or not other & ~label for other in taken]):
        return True
    once = twice = 0
    for other in [*taken, label]:
        once, twice = once | other, twice | once & other
    return len(taken) < FEW and any([not other & ~twice for other in [*taken, label]])


def vif_ofports(links: Iterable[Link]) -> Mapping[str, int]:
    """Return the OpenFlow numbers of the VIF netdevs on the bridge."""
    return {link.interface: link.ofport for link in links if VIF_NETDEV.fullmatch(link.interface)}


def _is_uplink(link: Link) -> bool:
    return not link.internal and not VIF_NETDEV.fullmatch(link.interface)


def _others(bridge: str, links: Iterable[Link]) -> Iterator[Tuple[str, Optional[int]]]:
    for link in links:
        if not link.odd:
            yield LOCAL if link.interface == bridge else str(link.ofport), link.tag
