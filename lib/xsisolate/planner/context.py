"""What a plan depends on beside its VIFs: values, which the caller has read."""
from xsisolate.pipeline.delivery import Topology
from xsisolate.policy.model import Config, Network, RemoteMember
from xsisolate.policy.resolve import find_network
from xsisolate.typing_compat import Mapping, NamedTuple, Optional, Tuple

Claims = Mapping[str, Tuple[RemoteMember, ...]]     # by group, for the addresses of a VIF


class GroupInput(NamedTuple):
    """A group's members on other hosts."""

    stamp: str = ''             # tells one state of them from another
    members: Optional[Tuple[RemoteMember, ...]] = ()    # None: not read, the header has this stamp


class PlanContext(NamedTuple):
    """A bridge and the configuration."""

    topology: Topology
    ofports: Mapping[str, int]          # the VIF netdevs that are on the bridge now
    config: Config
    thorough: bool = False              # take no stamp's word for what is programmed
    claims: Claims = {}                 # see wanted_addresses
    reserved: Tuple[RemoteMember, ...] = ()     # elsewhere, with MAC addresses of unmanaged VIFs

    def find_network(self, bridge: str, network_uuid: str) -> Network:
        """Return what the configuration says about a network."""
        return find_network(self.config, bridge, network_uuid)
