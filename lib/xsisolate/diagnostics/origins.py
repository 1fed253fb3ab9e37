"""Where each of a VIF's own addresses comes from, and what is missing of those that it has not."""
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple

from xsisolate.planner.vif import Vif
from xsisolate.policy.address import eui64, format_prefix
from xsisolate.policy.leases import refuse
from xsisolate.policy.model import LEASED4, LEASED6, SLAAC, Mode, Network, Prefix, Source

FIXED = 'fixed'
INTERFACE_BITS = (1 << 64) - 1


class Origin(NamedTuple):
    """Where an own address comes from."""

    word: str
    until: int = 0          # when a lease ends, in seconds since 1970
    server: str = ''


def find_origins(vif: Vif) -> Mapping[Prefix, Origin]:
    """Return where each own address comes from."""
    leases = {lease.address: lease for lease in vif.leases}
    found: Dict[Prefix, Origin] = {}
    for address in vif.policy.addresses:
        lease = leases.get(address)
        if address in vif.policy.leased:
            found[address] = Origin(LEASED4.word, lease.until if lease else 0,
                                    lease.server if lease else '')
        else:
            found[address] = Origin(SLAAC.word if _is_slaac(vif, address) else FIXED)
    return found


def list_learners(views: Iterable[Any]) -> List[str]:
    """Return the names of VIFs whose addresses are learned."""
    return [view.name for view in views if view.vif.policy.sources & {LEASED4, LEASED6}]


def _is_slaac(vif: Vif, address: Prefix) -> bool:
    return SLAAC in vif.policy.sources and (address.version, address.length) == (6, 128) and (
        address == eui64(vif.mac, address.value & ~INTERFACE_BITS))


def explain_missing(vif: Vif, version: int, network: Network) -> str:
    """Return what is missing so that a VIF gets an address of this version; '' if nothing is."""
    if Source(version, LEASED4.word) not in vif.policy.sources & {LEASED4, LEASED6}:
        return ''
    refused = ['%s: %s' % (format_prefix(lease.address), refuse(lease.address, network)
                           or 'another VIF has it, or XAPI\'s list does not')
               for lease in vif.leases if lease.address.version == version
               and lease.address not in vif.policy.addresses]
    if refused:
        return 'what it was leased does not count: ' + '; '.join(refused)
    return ('no trusted DHCP server has leased it one while the daemon listened, or the lease has '
            'ended: it gets one when its guest asks')


def find_unbound(vif: Vif, network: Network) -> Iterator[str]:
    """Yield which addresses a VIF may get, and has not, and why."""
    if vif.policy.mode not in (Mode.LOCKED, Mode.ISOLATED):
        return
    for source in (LEASED4, LEASED6):
        if source in vif.policy.sources and not any(
                address.version == source.version for address in vif.policy.leased):
            yield '%s: %s' % (source.key, explain_missing(vif, source.version, network))
