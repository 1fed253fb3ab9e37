"""`xsisolate status`: every VIF of this host, or one VM's, in full."""
import argparse
from typing import Any, Iterator, List, Sequence

from xsisolate.cli.command import VM_HELP, add_command, open_dom0, text_of
from xsisolate.cli.output import (Cell, Progress, paint, printable, say, say_json, screen_width,
                                  table)
from xsisolate.diagnostics.inventory import VifView
from xsisolate.diagnostics.origins import find_origins
from xsisolate.diagnostics.permissive import mode_words, say_would_be
from xsisolate.diagnostics.status import Status, describe, format_origin, read_status
from xsisolate.errors import UsageError
from xsisolate.policy.address import LINK_LOCAL, contains, format_prefix
from xsisolate.policy.model import EffectivePolicy, Mode
from xsisolate.policy.seal import PORTABLE_WORD, format_peer
from xsisolate.policy.unprotected import NOT_PROTECTED
from xsisolate.policy.vmdata_writer import as_words

EXAMPLES = '''
examples:
  xsisolate status                    all VIFs of this host
  xsisolate status red1               the VIFs of the VM red1, in full
  xsisolate status 5/0                the first VIF of domain 5
  xsisolate status web --template     what a VM gets that is made of the template web
  xsisolate status --json | jq -r '.vifs[] | select(.error) | .vif + ": " + .error'

SPOOFED and ISOLATED count packets dropped since the VIF's flows are there: sent under another's
address, and not admitted by a policy. SEAL says how vm-data and VIF.other_config go together.
FLOWS with ! are not what the VIF needs. NOT PROTECTED: no flow can enforce the VIF's policy
(SR-IOV, a Linux bridge). Exit codes: 4 for these, 3 the configuration is broken, 1 flows cannot be
read. MODE `isolated, permissive`: what the policy refuses is recorded, and passes. A line `would be
quarantined` says why a VIF would be, were it not permissive.
'''
TITLES = ('VIF', 'VM', 'BRIDGE', 'MODE', 'GROUPS', 'ADDRESSES', 'SEAL', 'FLOWS', 'SPOOFED',
          'ISOLATED')
MODE_STYLES = {Mode.UNLOCKED: 'dim', Mode.QUARANTINED: 'bad', Mode.DISABLED: 'warn'}
SEAL_STYLES = {'sealed': 'good', PORTABLE_WORD: 'good', 'none': '', 'accepted': 'warn'}


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'status', 'show every VIF of this host: policy, seal, flows, drops, last error',
        'Show every VIF of this host: its VM, bridge, mode, groups, addresses, seal, number of '
        'flows, packets dropped as spoofed and as isolated, and the last error.', EXAMPLES,
        'the VIFs')
    parser.add_argument('vm', nargs='?', default='', metavar='VM', type=text_of,
                        help='only this VM: ' + VM_HELP)
    parser.add_argument('--template', action='store_true', help='VM is a template or a snapshot of '
                        'the pool, by uuid or name: what a VM gets that is made of it')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.template:
        return run_template(arguments)
    with open_dom0() as dom0, Progress('looking at VIFs') as progress:
        status = read_status(dom0, arguments.vm, progress.step)
    if arguments.json:
        say_json(describe(status))
        return status.code
    warn(status)
    if arguments.vm:
        for view in status.vifs:
            say(*in_full(view))
    elif status.vifs:
        say(*table(TITLES, [row(view) for view in status.vifs], screen_width()))
        say(*errors(status.vifs))
    else:
        say('no VIF on this host')
    return status.code


def run_template(arguments: argparse.Namespace) -> int:
    """Show a template, which runs nowhere: XAPI knows it."""
    from xsisolate.config.host_config import read_configuration
    from xsisolate.diagnostics.template_status import read_template
    from xsisolate.dom0.xapi.session import connect     # TLS and XML, which others do without
    if not arguments.vm:
        raise UsageError('status --template: name the template: its uuid or name')
    with connect() as xapi:
        found = read_template(xapi, arguments.vm, read_configuration())
    if arguments.json:
        say_json(found.describe())
        return found.code
    say(paint('%s %s (%s)' % ('snapshot' if found.is_snapshot else 'template',
                              printable(found.vm.name), found.vm.uuid), 'bold'))
    for one in found.vifs:
        say(*('  %-14s%s' % line for line in (
            ('VIF', one.vif.devid), ('bridge', one.bridge or '-'),
            ('policy', as_words(one.policy)), ('seal', one.word),
            ('a VM of it', paint(printable(one.of_copies), 'good' if one.is_good else 'bad')))))
    return found.code


def warn(status: Status) -> None:
    """Print what concerns more than one VIF."""
    for warning in status.warnings:
        say(paint('! ' + printable(warning), 'warn'))
    if status.pool:
        age, error = status.pool.age(), printable(status.pool.error)
        say('groups of the pool: %s%s' % (
            'never read' if age is None else 'as of %.0f s ago' % age, '' if not error else
            ': not kept up to date: ' + error if status.pool.connected else
            ': XAPI is away: ' + error))


def row(view: VifView) -> List[Any]:
    """Return a VIF's row of the table."""
    policy = view.vif.policy
    return [view.name, printable(view.vm_name) or view.vif.vm_uuid or '-', view.network or '-',
            Cell(NOT_PROTECTED, 'bad') if view.unprotected else
            Cell(mode_words(policy), mode_style(policy)),
            ','.join(sorted(policy.groups)) or '-', ' '.join(addresses(view)) or '-',
            Cell(view.seal, SEAL_STYLES.get(view.seal, 'bad')),
            view.flows if view.carried else Cell('%d!' % view.flows, 'bad'),
            view.drops.spoofed if view.drops else 0, view.drops.isolated if view.drops else 0]


def mode_style(policy: EffectivePolicy) -> str:
    """Return how a mode is shown: what is not what a policy asks for stands out."""
    return 'warn' if policy.is_loose else MODE_STYLES.get(policy.mode, '')


def addresses(view: VifView) -> List[str]:
    """Return a VIF's own addresses, except the link-local one, which every VIF has."""
    return [format_prefix(own) for own in sorted(view.vif.policy.addresses)
            if not contains(LINK_LOCAL, own)] + ['(%s)' % text.partition(':')[0]
                                                 for text in view.unbound]


def with_origin(view: VifView) -> str:
    """Return a VIF's own addresses, each with where it comes from."""
    origins = find_origins(view.vif)
    if not view.vif.policy.sources:
        return ' '.join(map(format_prefix, sorted(origins)))
    return ', '.join('%s (%s)' % (format_prefix(own), format_origin(origins[own]))
                     for own in sorted(origins))


def errors(views: Sequence[VifView]) -> Iterator[str]:
    """Yield a line for each VIF that has an error, or would be quarantined."""
    for view in views:
        if view.error:
            yield '  %s: %s%s' % (view.name, paint(printable(view.error), 'bad'), doubt(view))
        if view.vif.policy.would_be:
            yield '  %s: %s' % (view.name, paint(printable(say_would_be(view.vif.policy)), 'warn'))


def doubt(view: VifView) -> str:
    """Return what an admin must know of a VIF whose policy is in doubt."""
    return ' (in doubt: it still runs on the policy that it had)' if view.doubt else ''


def in_full(view: VifView) -> Iterator[str]:
    """Yield all that is known of a VIF, a line each."""
    vif, policy, drops = view.vif, view.vif.policy, view.drops
    yield paint('%s: %s' % (view.name, printable(view.vm_name)), 'bold')
    vlans = [str(network.network & 0xfff) for network in vif.networks]
    for title, text in (
            ('VM', vif.vm_uuid + ' (migrates to this host)' * vif.arriving),
            ('VIF', view.vif_uuid), ('MAC address', vif.mac),
            ('bridge', view.network + (' on %s' % view.bridge
                                       if view.bridge not in ('', view.network) else '')),
            ('VLANs', ' '.join(vlans) if vif.trunk or vlans != ['0'] else ''),
            ('netdevs', ' '.join('%s (port %d)' % port for port in vif.ports)),
            ('mode', NOT_PROTECTED if view.unprotected else mode_words(policy)),
            ('its policy', printable(say_would_be(policy))),
            ('XAPI locking', vif.locking.mode.word),
            ('groups', ' '.join(sorted(policy.groups))),
            ('allow', ' '.join(sorted(map(format_peer, policy.allow))) if view.certain else
             'not known: the switch keeps what it was'),
            ('addresses', with_origin(view)), ('not leased', '; '.join(view.unbound)),
            ('leases', printable(vif.complaint)),
            ('shared', ' '.join(format_prefix(own) for own in sorted(policy.shared))),
            ('also as', ' '.join(sorted(policy.macs))), ('roles', ' '.join(sorted(policy.roles))),
            ('seal', view.seal), ('flows', str(view.flows) + (
                '' if view.carried else ', not those that it needs: xsisolate sync')),
            ('dropped', '%d as spoofed, %d as isolated' % drops if drops else ''),
            ('error', printable(view.error) + doubt(view) if view.error else '')):
        if text:
            yield '  %-14s%s' % (title, text)
