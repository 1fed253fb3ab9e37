"""This host in one piece, for the plugin: `xsisolate pool status` shows one of every host."""
from collections import Counter
from hashlib import sha256
from typing import Any, Dict

from xsisolate import __version__
from xsisolate.activation.desired import DAEMON
from xsisolate.activation.steps import is_active
from xsisolate.admin.host_overview import HostOverview
from xsisolate.config.compiled import encode
from xsisolate.config.load import config_file
from xsisolate.dataplane.context import HostContext
from xsisolate.diagnostics.inventory import VifView
from xsisolate.diagnostics.permissive import list_permissive
from xsisolate.diagnostics.status import (describe_vif, exit_code, find_warnings, look_twice,
                                          read_status)
from xsisolate.diagnostics.vm_lookup import said_addresses
from xsisolate.dom0.linux.atomic_file import read_file
from xsisolate.dom0.linux.systemd import unit_state
from xsisolate.dom0.run_files.pool_configuration import Taken, read_taken
from xsisolate.policy.address import format_prefix
from xsisolate.policy.model import Mode

CONFIGURATION = 'configuration of the pool: '
FITTING = ('sealed', 'none', 'accepted')


def read_overview(dom0: HostContext) -> HostOverview:
    """Return what this host says of itself."""
    status = read_status(dom0)
    errors = [view.error for view in status.vifs if view.error]
    taken, digest = read_taken() or Taken(), digest_file()
    errors += [status.pool.error] if status.pool and status.pool.error else []
    return HostOverview(
        version=__version__, active=is_active(), daemon=unit_state(DAEMON),
        digest=digest, source=name_source(taken, digest), wanted=taken.wanted_digest,
        modes=dict(Counter(view.vif.policy.mode.word for view in status.vifs)),
        permissive=len(list_permissive(status.vifs)),
        would_be=sum(bool(view.vif.policy.would_be) for view in status.vifs),
        unsealed=sum(view.seal not in FITTING for view in status.vifs),
        error=errors[0] if errors else '', code=status.code,
        warnings=status.warnings + ((CONFIGURATION + taken.error,) if taken.error else ()))


def name_source(taken: Taken, digest: str) -> str:
    """Return where xsisolate.yaml comes from: file, local, or `pool` and the version."""
    if taken.local:
        return 'local'
    return 'pool %d' % taken.taken if taken.taken and taken.digest == digest else 'file'


def digest_file() -> str:
    """Return the SHA-256 of this host's xsisolate.yaml, '' if there is none."""
    text = read_file(config_file())
    return '' if text is None else sha256(text.encode('utf-8')).hexdigest()


def read_pool_matrix(dom0: HostContext) -> Dict[str, Any]:
    """Return what `xsisolate pool matrix` needs of this host: its VIFs and its configuration."""
    inventory = look_twice(dom0)
    inventory.check_known()
    return {'vifs': [_describe(view, dom0) for view in inventory.vifs if not view.vif.arriving],
            'configuration': encode(inventory.configuration.config), 'digest': digest_file(),
            'warnings': list(find_warnings(inventory)), 'code': exit_code(inventory)}


def _describe(view: VifView, dom0: HostContext) -> Dict[str, Any]:
    """Return a VIF with its networks, and with what its guest says where no policy does."""
    said = view.vif.policy.mode is Mode.UNLOCKED
    return dict(describe_vif(view), mute=view.vif.mute,
                networks=[list(network) for network in view.vif.networks],
                said=[format_prefix(address) for address in said_addresses(view, dom0.store)]
                if said else [])

