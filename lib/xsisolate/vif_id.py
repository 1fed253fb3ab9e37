"""Which VIF of this host: the numbers by which Xen knows it, and the names of its netdevs."""
import re

from xsisolate.typing_compat import NamedTuple, Tuple

VIF_NETDEV = re.compile(r'(vif|tap)[0-9]+\.[0-9]+')
UUID = re.compile('[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}')     # in lower case


class VifId(NamedTuple):
    """A VIF of a domain on this host."""

    domid: int
    devid: int

    @property
    def vif(self) -> str:
        """The name of its netdev."""
        return 'vif%d.%d' % self

    @property
    def netdevs(self) -> Tuple[str, str]:
        """The names of the netdevs that it may have; the second is an HVM guest's emulated NIC."""
        return 'vif%d.%d' % self, 'tap%d.%d' % self

    def __str__(self) -> str:
        return self.vif


def parse_netdev(name: str) -> VifId:
    """Return the VIF that a netdev is of.

    >>> parse_netdev('tap5.0')
    VifId(domid=5, devid=0)
    """
    domid, devid = name[3:].split('.')
    return VifId(int(domid), int(devid))
