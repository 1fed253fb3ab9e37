"""What the caller of a hook wants: every shape that the stock hooks have had.

    vif ACTION [type_if=]vif|tap [DOMID DEVID]                 udev, xenopsd
    setup-vif-rules BACKEND INTERFACE UUID DEVID ACTION        xenopsd, vif-real
    setup-vif-rules BACKEND vif|tap DOMID DEVID ACTION         XCP 1.9 of 2013
    setup-vif-rules vif|tap DOMID DEVID [MODE] ACTION          XenServer 6.1, 6.2
"""
import re

from xsisolate.errors import UsageError
from xsisolate.typing_compat import Mapping, NamedTuple, Optional, Sequence
from xsisolate.vif_id import UUID, VifId

DEVICE = re.compile(r'(vif|tap)([0-9]{1,5})\.([0-9]{1,5})')
XENBUS_PATH = re.compile(r'(?:.*/)?backend/vif/([0-9]{1,5})/([0-9]{1,5})')
NUMBER = re.compile(r'0|[1-9][0-9]{0,4}')    # a netdev's name has no leading zeros
TYPES = ('vif', 'tap')
DOMID_LIMIT = 0x7ff0        # Xen: DOMID_FIRST_RESERVED
DEVID_LIMIT = 0x100         # what a cookie has room for; XAPI allows 7

VIF_USAGE = 'usage: vif ACTION type_if=vif|tap, with XENBUS_PATH or INTERFACE set'
RULES_USAGE = 'usage: setup-vif-rules BACKEND INTERFACE VM-UUID DEVID filter|clear'


class Event(NamedTuple):
    """Something happened to a netdev of a VIF."""

    action: str             # online, add, remove, move, ... or filter, clear
    kind: str               # vif or tap
    vif: VifId
    vm_uuid: str = ''       # where the caller says it
    backend: str = 'classic'

    @property
    def device(self) -> str:
        """The netdev's name."""
        return self.kind + self.vif.vif[len(self.kind):]


def parse_vif_call(args: Sequence[str], environ: Mapping[str, str]) -> Event:
    """Return the event that the vif script was called for; `args` without the program."""
    if len(args) < 2:
        raise UsageError('%s; got %s' % (VIF_USAGE, _shown(args)))
    kind = args[1][len('type_if='):] if args[1].startswith('type_if=') else args[1]
    if kind not in TYPES:
        raise UsageError('%s; got %s' % (VIF_USAGE, _shown(args)))
    return Event(args[0], kind, _find_vif(kind, args, environ))


def _find_vif(kind: str, args: Sequence[str], environ: Mapping[str, str]) -> VifId:
    """Return the VIF from where this caller puts them."""
    path = XENBUS_PATH.fullmatch(environ.get('XENBUS_PATH', ''))
    if path:
        return _numbers(path.group(1), path.group(2))
    device = DEVICE.fullmatch(environ.get('INTERFACE', ''))
    if device and device.group(1) == kind:
        return _numbers(device.group(2), device.group(3))
    if len(args) >= 4:
        return _numbers(args[2], args[3])
    raise UsageError('%s; XENBUS_PATH is %.60r, INTERFACE is %.60r'
                     % (VIF_USAGE, environ.get('XENBUS_PATH'), environ.get('INTERFACE')))


def parse_rules_call(args: Sequence[str]) -> Event:
    """Return the event that setup-vif-rules was called for; `args` without the program."""
    event = _parse_rules(args)
    if event is None or event.action not in ('filter', 'clear'):
        raise UsageError('%s; got %s' % (RULES_USAGE, _shown(args)))
    return event


def _parse_rules(args: Sequence[str]) -> Optional[Event]:
    if len(args) in (4, 5) and args[0] in TYPES:
        return Event(args[-1], args[0], _numbers(args[1], args[2]))
    if len(args) != 5:
        return None
    if args[1] in TYPES:
        return Event(args[4], args[1], _numbers(args[2], args[3]), backend=args[0])
    device = DEVICE.fullmatch(args[1])
    if not device or device.group(3) != args[3] or not UUID.fullmatch(args[2].lower()):
        return None
    return Event(args[4], device.group(1), _numbers(device.group(2), device.group(3)),
                 vm_uuid=args[2].lower(), backend=args[0])


def _numbers(domid: str, devid: str) -> VifId:
    if not (NUMBER.fullmatch(domid) and NUMBER.fullmatch(devid)
            and int(domid) < DOMID_LIMIT and int(devid) < DEVID_LIMIT):
        raise UsageError('not a VIF: domain %.20r, device %.20r' % (domid, devid))
    return VifId(int(domid), int(devid))


def _shown(args: Sequence[str]) -> str:
    return '%.200r' % ' '.join(args) if args else 'no arguments'
