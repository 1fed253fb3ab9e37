"""What admins must know of VIFs whose policies are judged and not enforced: they protect nobody."""
from typing import Iterator, List, Sequence

from xsisolate.diagnostics.finding import Finding, ok, warning
from xsisolate.diagnostics.inventory import Inventory, VifView
from xsisolate.diagnostics.vm_lookup import label
from xsisolate.policy.model import Config, EffectivePolicy
from xsisolate.policy.resolve import ANY_NETWORK

PERMISSIVE_WORD = 'permissive'
SHOWN = 8               # VIFs in a line


def mode_words(policy: EffectivePolicy) -> str:
    """Return a mode as tables show it: `isolated, permissive`."""
    return policy.mode.word + (', ' + PERMISSIVE_WORD) * policy.permissive


def say_would_be(policy: EffectivePolicy) -> str:
    """Return what would become of a VIF, were it not permissive; '' if its policy is applied."""
    return policy.would_be and 'would be ' + policy.would_be


def list_permissive(views: Sequence[VifView]) -> List[VifView]:
    """Return the VIFs that no policy holds."""
    return [view for view in views if view.vif.policy.is_loose]


def warn_of_permissive(views: Sequence[VifView]) -> Iterator[str]:
    """Yield a line that names the permissive VIFs, if there are any."""
    found = [view.name for view in list_permissive(views)]
    if found:
        yield '%s: %s%s: what their policies refuse is recorded, and passes' % (
            PERMISSIVE_WORD, ' '.join(found[:SHOWN]), ' ...' * (len(found) > SHOWN))


def examine_permissive(inventory: Inventory) -> Iterator[Finding]:
    """Yield which VIFs and networks are permissive, and what would be quarantined."""
    names = [label(view) for view in list_permissive(inventory.vifs)]
    networks = list(_networks(inventory.configuration.config))
    if not names and not networks:
        yield ok(PERMISSIVE_WORD, 'no VIF and no network: policies are enforced')
        return
    yield warning(
        PERMISSIVE_WORD, 'protects nobody: %s: what policies refuse is recorded, and passes' % (
            '; '.join(_shown(what, some) for what, some in (
                ('networks', networks), ('VIFs', names)) if some)),
        'enforced policies', 'see what would be refused (xsisolate refused --permissive) and what '
        'to write (xsisolate suggest); then end it (xsisolate enforce)')
    for view in inventory.vifs:
        if view.vif.policy.would_be:
            yield warning('VIF', '%s %s. It runs as XAPI\'s locking mode says: %s' % (
                label(view), say_would_be(view.vif.policy), view.vif.policy.mode.word),
                'a policy that can be applied',
                'correct the policy, or seal it, before it is enforced')


def _networks(config: Config) -> Iterator[str]:
    """Yield the networks that the configuration makes permissive."""
    if config.permissive:
        yield 'all that do not say permissive: false'
    for key, network in sorted(config.networks.items()):
        if network.permissive:
            yield 'all others ("*")' if key == ANY_NETWORK else key


def _shown(what: str, names: Sequence[str]) -> str:
    return '%s %s%s' % (what, ', '.join(names[:SHOWN]), ', ...' * (len(names) > SHOWN))
