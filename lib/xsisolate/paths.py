"""Where this release lies, and where the host keeps its files."""
import os

LIBRARY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))   # has the package xsisolate
RELEASE = os.path.dirname(LIBRARY)

OURS, STOCK = '/usr/libexec/xsisolate', '/usr/libexec/xenopsd'     # the hooks' folders
RULES, VIF = 'setup-vif-rules', 'vif'                               # the hooks
POOL_CONFIGURATION = '/etc/xsisolate/pool-configuration.json'  # what the follower has taken
POOL_ASKED = '/run/xsisolate/pool-configuration-asked'      # ... and that XAPI was asked since boot
HANDED_BACK = '/run/xsisolate/handed-back'      # `xsisolate deactivate` leaves it for the hooks


def rooted(path: str) -> str:
    """Return where a file of the host is; tests have a host below XSISOLATE_ROOT."""
    return os.environ.get('XSISOLATE_ROOT', '') + path
