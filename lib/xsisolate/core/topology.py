"""A bridge's ports, sorted into what the pipeline must know about them."""
import re

from xsisolate.core.digest import sha256
from xsisolate.core.flows.delivery import Topology
from xsisolate.hints import Iterable, Iterator, Mapping, NamedTuple, Optional, Tuple

VIF_NETDEV = re.compile(r'(vif|tap)[0-9]+\.[0-9]+')
LOCAL = 'LOCAL'
LABEL_BITS = 12         # at most: some of them may be the same


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
                  served: Tuple[Tuple[str, int], ...] = ()) -> Topology:
    """Return the uplinks and the other ports of a bridge.

    What is neither a VIF's netdev nor Dom0's own leads out of the host:
    physical NICs, bonds, tunnels, patches to other bridges.
    """
    links = sorted(links, key=lambda link: (link.port, not link.active, link.ofport))
    leading_out = [link for link in links if _is_uplink(link)]
    uplinks = {link.port: tuple(other.ofport for other in links if other.port == link.port)
               for link in leading_out}
    inside = [link for link in links if link not in leading_out]
    others = tuple(sorted(_others(bridge, inside), key=str))
    balanced = frozenset(uplinks[link.port][0] for link in leading_out if link.balanced)
    return Topology(tuple(uplinks[name] for name in sorted(uplinks)), others, snooping, balanced,
                    secure, served, label_of(bridge))


def label_of(bridge: str) -> int:
    """Return some of a connection label's 128 bits, which tell a bridge from others.

    That another one's, or even five others' together, cover them is as good as impossible.
    """
    label = 0
    for byte in sha256(bridge.encode()).digest()[:LABEL_BITS]:
        label |= 1 << byte % 128
    return label


def vif_ofports(links: Iterable[Link]) -> Mapping[str, int]:
    """Return the OpenFlow numbers of the VIF netdevs on the bridge."""
    return {link.interface: link.ofport for link in links if VIF_NETDEV.fullmatch(link.interface)}


def _is_uplink(link: Link) -> bool:
    return not link.internal and not VIF_NETDEV.fullmatch(link.interface)


def _others(bridge: str, links: Iterable[Link]) -> Iterator[Tuple[str, Optional[int]]]:
    for link in links:
        if not link.odd:
            yield LOCAL if link.interface == bridge else str(link.ofport), link.tag
