"""The host that hooks, daemon and commands work on: its neighbours and its configuration."""
from xsisolate.config.host_config import Configuration
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.typing_compat import NamedTuple


class HostContext(NamedTuple):
    """The neighbours that plugging needs, connected once per run."""

    ovsdb: Ovsdb
    store: Xenstore                 # or NoXenstore: then no VIF is known, and unplugging works
    configuration: Configuration
