"""Everything that can go wrong, with the exit code it ends in.

Exit codes are the product's contract: 0 done, 1 the host failed, 2 usage,
3 policy or configuration error, 4 differences found.
"""
from xsisolate.typing_compat import Iterable

EXIT_DONE = 0
EXIT_HOST = 1
EXIT_USAGE = 2
EXIT_POLICY = 3
EXIT_DIFFERENT = 4
WORST_FIRST = (EXIT_HOST, EXIT_USAGE, EXIT_POLICY, EXIT_DIFFERENT)


def worst_exit_code(codes: Iterable[int]) -> int:
    """Return the exit code of a run whose parts ended with these."""
    found = set(codes)
    return next((code for code in WORST_FIRST if code in found), EXIT_DONE)


class XsisolateError(Exception):
    """The root of the tree; its text is one line that says what to do."""

    exit_code = EXIT_HOST


class UsageError(XsisolateError):
    """The hook or the command was called in a way it does not know."""

    exit_code = EXIT_USAGE


class PolicyError(XsisolateError):
    """An admin's policy cannot be understood or must not be applied."""

    exit_code = EXIT_POLICY


class UnprovenPolicy(PolicyError):
    """vm-data is not what the seal says: the guest's doing, or an admin's between two writes."""


class ConfigError(XsisolateError):
    """/etc/xsisolate/xsisolate.yaml or a group file cannot be understood."""

    exit_code = EXIT_POLICY


class HostError(XsisolateError):
    """Something of the host's is missing or refuses: OVS, xenstore, a netdev."""


class UnknownVif(HostError):
    """The host does not know the VIF, or not well enough: it has no domain or no metadata."""


class MetadataError(UnknownVif):
    """xenopsd's VIF metadata is missing, half-written or makes no sense."""
