"""A bridge's controllers and managers, and what Open vSwitch does because of them.

Facts of its source: ofproto/in-band.c, connmgr.c, fail-open.c and vswitchd/bridge.c.
"""
import re

from xsisolate.dom0.ovs.ovsdb import FAIL_MODE_KEY, SECURE, Bridge, Remote
from xsisolate.dom0.ovs.ovsdb_rows import IN_BAND_KEY
from xsisolate.errors import PolicyError
from xsisolate.policy.address import format_prefix, parse_prefix
from xsisolate.typing_compat import Optional, Tuple

IN_BAND_NOTE = 'xsisolate-disable-in-band'  # external_ids of a bridge: what that was before us
OFF, OUT = 'true', 'out-of-band'
ACTIVE = ('tcp:', 'ssl:', 'unix:')          # Open vSwitch connects, instead of listening
LOOPBACK = '127.0.0.1'                      # in-band control passes a manager there over
SILENCED = ('switched off in-band control for %s: its flows let TCP and ARP with these addresses '
            'pass from any port to any other')
PLACE = re.compile(r'(?:tcp|ssl):([0-9.]+)(?::([0-9]+))?')
DEFAULT_PORTS = {'Controller': 6653, 'Manager': 6640}


def is_noted(bridge: Bridge) -> bool:
    """Tell whether a bridge has, or had a moment ago, managed VIFs."""
    return IN_BAND_NOTE in bridge.external_ids


def is_off(bridge: Bridge) -> bool:
    """Tell whether a bridge has no flows of in-band control, whatever remotes there are."""
    return bridge.other_config.get(IN_BAND_KEY, '').lower() == OFF


def open_remotes(bridge: Bridge) -> Tuple[Remote, ...]:
    """Return the remotes for which Open vSwitch has flows above all others on a bridge."""
    return () if is_off(bridge) else tuple(
        remote for remote in in_band_remotes(bridge) if remote.connection_mode != OUT)


def in_band_remotes(bridge: Bridge) -> Tuple[Remote, ...]:
    """Return the remotes for which it would have them, were that not switched off."""
    return tuple(filter(may_open, bridge.controllers + bridge.managers))


def may_open(remote: Remote) -> bool:
    """Tell whether in-band control is for such remotes: TCP or TLS over IPv4, or by name."""
    scheme, _, place = remote.target.partition(':')
    return scheme in ('tcp', 'ssl') and not place.startswith('[') and (
        remote.table != 'Manager' or place.split(':')[0] != LOOPBACK)


def failing_open(bridge: Bridge) -> Tuple[Remote, ...]:
    """Return the controllers in charge that let everything pass when none of them answers.

    The way by which they are reached does not matter. Open vSwitch does not wait for a listener,
    unless it is told both that it is in charge and not to wait at all.
    """
    primary = () if bridge.fail_mode == SECURE else tuple(filter(is_primary, bridge.controllers))
    active = tuple(remote for remote in primary if remote.target.startswith(ACTIVE))
    return active or (() if any(remote.probe != 0 for remote in primary) else primary)


def is_primary(remote: Remote) -> bool:
    """Tell whether a controller is in charge of its bridge: there must be one, or none is."""
    if remote.type is None:
        return remote.target.startswith(ACTIVE)
    return remote.type == 'primary' and remote.target != 'none'


def forwards(bridge: Bridge) -> bool:
    """Tell whether a bridge forwards what no flow is about: by itself, or by a flow of ours."""
    if bridge.fail_mode == SECURE:
        return FAIL_MODE_KEY in bridge.external_ids
    return not any(map(is_primary, bridge.controllers))


def served(bridge: Bridge) -> Tuple[Tuple[str, int], ...]:
    """Return address and port of the remotes that Dom0 reaches by flows of ours, not in-band.

    To its own loopback address no bridge leads.
    """
    if forwards(bridge):
        return ()
    found = map(place_of, in_band_remotes(bridge))
    return tuple(sorted({place for place in found if place and place[0][:4] != LOOPBACK[:4]}))


def place_of(remote: Remote) -> Optional[Tuple[str, int]]:
    """Return a remote's IPv4 address and port, None if it has a name."""
    found = PLACE.fullmatch(remote.target)
    try:
        return (format_prefix(parse_prefix(found.group(1))),
                int(found.group(2) or DEFAULT_PORTS[remote.table])) if found else None
    except PolicyError:
        return None


def name_all(remotes: Tuple[Remote, ...]) -> str:
    """Return remotes as messages name them."""
    return ', '.join('%s %s' % (remote.table.lower(), remote.target) for remote in remotes)
