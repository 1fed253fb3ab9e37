"""`xsisolate explain`: may SRC reach DST, by which rule, and does the switch agree?"""
import argparse
from typing import Any, Iterator

from xsisolate.cli.common import VM_HELP, add_command, open_dom0, text_of
from xsisolate.cli.output import Progress, paint, printable, say, say_json
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE
from xsisolate.look.ends import Asked, find_route
from xsisolate.look.explain import (Asker, Explanation, Passage, describe, read_hostname,
                                    walk)
from xsisolate.look.inventory import read_inventory

EXAMPLES = '''
examples:
  xsisolate explain red1 red2                  may red1 ping red2?
  xsisolate explain red1 red2 tcp/443          may red1 open a connection to its port 443?
  xsisolate explain 5/0 192.0.2.1 udp/53       domain 5's first VIF to an address outside
  xsisolate explain 10.9.0.51 red1 -6          the same question of IPv6

The policies are asked first, then the switch (ofproto/trace, without side effects), both for the
request and for the answer that would come back. If they do not agree, something else than the
policies decides about packets: exit code 4. `xsisolate sync --dry-run` shows what is missing.
'''
SIDES = {'sends': '%s', 'egress': '%s, egress:', 'receives': '%s', 'ingress': '%s, ingress:'}


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands, 'explain', 'say whether one VM may reach another, and by which rule',
        'Say whether SRC may reach DST, by which group, allow entry or rule, or what is missing, '
        'and whether the switch does the same.', EXAMPLES, 'the answer')
    parser.add_argument('source', metavar='SRC', type=text_of,
                        help='who begins: an address, or a VM: ' + VM_HELP)
    parser.add_argument('target', metavar='DST', type=text_of,
                        help='whom it wants to reach, written likewise')
    parser.add_argument('service', metavar='SERVICE', nargs='?', default='',
                        help='tcp/443, udp/53, icmp or icmp6; without it a ping')
    version = parser.add_mutually_exclusive_group()
    version.add_argument('-4', '--ipv4', dest='version', action='store_const', const=4, default=0,
                         help='speak IPv4 (the default where both ends have it)')
    version.add_argument('-6', '--ipv6', dest='version', action='store_const', const=6,
                         help='speak IPv6')
    for end in ('source', 'target'):
        parser.add_argument('--%s-address' % end, metavar='A', default='', help='which of its '
                            'addresses; needed for an unmanaged VM whose guest does not say')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    asked = Asked(arguments.source, arguments.target, arguments.service, arguments.version,
                  arguments.source_address, arguments.target_address)
    with open_dom0() as dom0, Progress('looking at VIFs') as progress:
        assert dom0.store is not None
        inventory = read_inventory(dom0, progress.step)
        found = walk(Asker(inventory), find_route(inventory, dom0.store, asked))
    if arguments.json:
        say_json(describe(found))
    else:
        say(*lines(found))
    return EXIT_DIFFERENT if found.differs else EXIT_DONE


def lines(found: Explanation) -> Iterator[str]:
    """Yield the answer in words."""
    verdict, style = ('REACHES', 'good') if found.answered else (
        'REACHES, but no answer comes back', 'warn')
    if not found.reaches:
        verdict, style = 'DOES NOT REACH, stopped on this host (%s) by %s' % (
            read_hostname(), found.stopped_by), 'bad'
    if found.differs:
        verdict, style = '%s by policy, BUT THE SWITCH DOES SOMETHING ELSE' % verdict, 'bad'
    yield '%s to %s, %s: %s' % (found.source, found.target, found.service, paint(verdict, style))
    for note in found.notes:
        yield '  note: ' + printable(note)
    for passage in found.request:
        yield from passage_lines(passage, 'request')
    for passage in found.answer:
        yield from passage_lines(passage, 'answer')
    if found.differs:
        yield paint('!!! POLICY AND SWITCH DIFFER: what the switch does is not what the policies '
                    'say !!!', 'bad')
        yield ('    xsisolate sync --dry-run shows what is missing or too much; a policy in doubt '
               'keeps what it was for its grace')
    elif all(passage.traced for passage in found.request + found.answer):
        yield 'policy and switch agree'


def passage_lines(passage: Passage, what: str) -> Iterator[str]:
    """Yield what becomes of one packet on one network."""
    yield '  %s: %s -> %s on network %s' % (
        what, passage.source.name, passage.target.name, passage.place.name)
    for step in passage.steps:
        mark = paint('yes', 'good') if step.admits else paint('NO ', 'bad')
        yield '    %s  %s %s' % (mark, SIDES[step.side] % step.who, printable(step.because))
    if not passage.target.vif and passage.admitted:
        yield '    ->   the rest is up to where it goes: beyond the uplink of bridge %s' % (
            passage.place.bridge)
    if passage.traced is None:
        yield '    switch: not asked: ' + passage.silent
        return
    text = 'switch: delivers it' if passage.delivered else (
        'switch: does not deliver it: ' + passage.traced.end)
    yield '    ' + (paint('DIFFERS: ' + text, 'bad') if passage.differs else text)
