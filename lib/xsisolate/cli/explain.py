"""`xsisolate explain`: may SRC reach DST, by which rule, and does the switch agree?"""
import argparse
from typing import Any, Dict, Iterator

from xsisolate.cli.command import VM_HELP, add_command, open_dom0, text_of
from xsisolate.cli.output import Progress, paint, printable, say, say_json
from xsisolate.dataplane.context import HostContext
from xsisolate.diagnostics.explain import LEAVES, STOPPED, describe, explain, find_warnings
from xsisolate.diagnostics.inventory import Inventory, read_inventory
from xsisolate.diagnostics.route import Asked
from xsisolate.diagnostics.vm_lookup import NotOnHost
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_POLICY, HostError, UsageError

EXAMPLES = '''
examples:
  xsisolate explain red1 red2                  may red1 ping red2?
  xsisolate explain red1 red2 tcp/443          may red1 open a connection to its port 443?
  xsisolate explain 5/0 192.0.2.1 udp/53       domain 5's first VIF to an address outside
  xsisolate explain 10.9.0.51 red1 -6          the same question of IPv6
  xsisolate explain red1 red2 --trace          with every flow that the packet meets

The policies are asked first, then the switch (ofproto/trace, without side effects), both for the
request and for the answer that would come back. If they do not agree, something else than the
policies decides about packets: exit code 4. `xsisolate sync --dry-run` shows what is missing. A VM
of another host of the pool is looked up through XAPI, and its host is asked. Where the way goes on
behind a router or on another host, the answer is LEAVES THIS HOST, and towards what. A ~ says that
a permissive VIF's policy would refuse the packet, which passes.
'''
SIDES = {'sends': '%s', 'egress': '%s, egress:', 'receives': '%s', 'ingress': '%s, ingress:'}


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'explain', 'say whether one VM may reach another, and by which rule',
        'Say whether SRC may reach DST, by which group, allow entry or rule, or what is missing, '
        'and whether the switch does the same.', EXAMPLES, 'the answer')
    parser.add_argument('source', metavar='SRC', type=text_of,
                        help='the sender: an address, or a VM: ' + VM_HELP)
    parser.add_argument('target', metavar='DST', type=text_of,
                        help='the receiver, written likewise')
    parser.add_argument('service', metavar='SERVICE', nargs='?', default='',
                        help='tcp/443, udp/53, icmp/8, esp, ip/89, tftp, ...; without it a ping')
    version = parser.add_mutually_exclusive_group()
    version.add_argument('-4', '--ipv4', dest='version', action='store_const', const=4, default=0,
                         help='speak IPv4 (the default where both ends have it)')
    version.add_argument('-6', '--ipv6', dest='version', action='store_const', const=6,
                         help='speak IPv6')
    for end in ('source', 'target'):
        parser.add_argument('--%s-address' % end, metavar='A', default='', help='which of its '
                            'addresses; needed for an unmanaged VM whose guest does not say')
    parser.add_argument('--here', action='store_true',
                        help='ask this host only, never others through XAPI')
    parser.add_argument('--trace', action='store_true',
                        help='print every flow that the packet meets on the switch, in the words '
                        'of xsisolate dump')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    asked = Asked(arguments.source, arguments.target, arguments.service, arguments.version,
                  arguments.source_address, arguments.target_address)
    with open_dom0() as dom0, Progress('looking at VIFs') as progress:
        inventory = read_inventory(dom0, progress.step)
        inventory.check_known()
        found = ask(dom0, inventory, asked, arguments.here)
    found['warnings'] = find_warnings(inventory)
    if arguments.json:
        say_json(found)
    else:
        say(*lines(found, arguments.trace))
    return EXIT_POLICY if inventory.broken else EXIT_DIFFERENT if found['differs'] else EXIT_DONE


def ask(dom0: HostContext, inventory: Inventory, asked: Asked, here: bool) -> Dict[str, Any]:
    """Return this host's answer, or that of the hosts where the VMs run."""
    store = dom0.store

    def ask_here(asked: Asked) -> Dict[str, Any]:
        return describe(explain(inventory, store, asked))

    try:
        return ask_here(asked)
    except NotOnHost as error:
        if here:
            raise
        from xsisolate.diagnostics.across import Across
        from xsisolate.dom0.xapi.session import connect     # TLS and XML, which few questions need
        try:
            xapi = connect()
        except HostError as failure:
            raise UsageError('%s; and XAPI does not say which other host has it: %s'
                             % (error, failure)) from None
        with xapi:
            return Across(xapi, inventory, store, ask_here).explain(asked)


def lines(found: Dict[str, Any], trace: bool = False) -> Iterator[str]:
    """Yield the answer in words, with every flow that packets meet if `trace`."""
    for warning in found['warnings']:
        yield paint('! ' + printable(warning), 'warn')
    yield '%s to %s, %s: %s' % (printable(found['source']), printable(found['target']),
                                found['service'], headline(found))
    answers = found.get('answers', [found])
    for answer in answers:
        if len(answers) > 1 or answer['asked']:
            yield '  host %s answers:' % printable(answer['host'])
        for note in answer['notes']:
            yield '  note: ' + printable(note)
        for what in ('request', 'answer'):
            for passage in answer[what]:
                yield from passage_lines(passage, what)
                yield from trace_lines(passage) if trace else ()
    if found['differs']:
        yield paint('!!! POLICY AND SWITCH DIFFER: what the switch does is not what the policies '
                    'say !!!', 'bad')
        yield ('    xsisolate sync --dry-run shows what is missing or too much; a policy in doubt '
               'keeps what it was for its grace')
    elif all(passage['switch'] for answer in answers
             for passage in answer['request'] + answer['answer']):
        yield 'policy and switch agree'


def headline(found: Dict[str, Any]) -> str:
    """Return what is known of the request, and no more."""
    verdict = found['verdict']
    if verdict == STOPPED:
        text, style = 'DOES NOT REACH, stopped on %s (%s) by %s' % (
            'another host' if found['asked'] else 'this host',
            printable(found['host']), printable(found['stopped_by'])), 'bad'
    elif verdict == LEAVES:
        text, style = 'LEAVES THIS HOST towards %s' % printable(found['towards'] or '?'), 'warn'
    else:
        text, style = 'REACHES' + ', if it arrives at the uplink' * found['arrives'], 'good'
    if found.get('would_be_stopped_by'):        # a host of another release does not say
        text, style = '%s, but %s would stop it, were it not permissive' % (
            text, printable(found['would_be_stopped_by'])), 'warn'
    if verdict != STOPPED and not found['answered']:
        text, style = text + ', but no answer comes back', 'warn'
    if found['differs']:
        text, style = text + ' by policy, BUT THE SWITCH DOES SOMETHING ELSE', 'bad'
    return paint(text, style)


def passage_lines(passage: Dict[str, Any], what: str) -> Iterator[str]:
    """Yield what becomes of one packet on one network."""
    yield '  %s: %s -> %s on network %s' % (what, *(
        printable(passage[name]) for name in ('source', 'target', 'network')))
    for step in passage['steps']:
        if step.get('would_refuse'):
            yield '    %s  %s would refuse it, and it passes (permissive): %s' % (
                paint(' ~ ', 'warn'), SIDES[step['side']] % printable(step['who']),
                printable(step['because']))
            continue
        mark = paint('yes', 'good') if step['admits'] else paint('NO ', 'bad')
        yield '    %s  %s %s' % (mark, SIDES[step['side']] % printable(step['who']),
                                 printable(step['because']))
    if passage['leaves']:
        yield '    ->   the rest is up to where it goes: beyond the uplink of bridge %s' % (
            passage['bridge'])
    switch = passage['switch']
    if switch is None:
        yield '    switch: not asked: ' + printable(passage['switch_not_asked'])
        return
    text = 'switch: delivers it' if switch['delivered'] else (
        'switch: does not deliver it: ' + printable(switch['end']))
    yield '    ' + (paint('DIFFERS: ' + text, 'bad') if passage['differs'] else text)


def trace_lines(passage: Dict[str, Any]) -> Iterator[str]:
    """Yield what the switch does with one packet, flow by flow."""
    if passage['switch'] is not None:
        yield '    trace of ' + printable(passage['switch']['packet'])
        yield from ('      ' + printable(line) for line in passage['switch']['trace'])
