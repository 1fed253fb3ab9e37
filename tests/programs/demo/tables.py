"""Lays out what was found; every function returns whether all is as it should be."""
from typing import FrozenSet, List, Sequence

from demo.attacks import ATTACKS, Outcome
from demo.coup import USURPER, Coup
from demo.lifecycle import Step
from demo.policy import PROBES, Matrix, Pair, Probe
from demo.reach import differences
from demo.scene import LAN, OTHERS, Place
from demo.screen import Screen
from demo.stopwatch import Timing

SHORT = {'red1': 'r1', 'red2': 'r2', 'red3': 'r3', 'blue1': 'b1', 'blue2': 'b2',
         'blue3': 'b3', 'locked': 'lo', 'free': 'fr', 'gateway': 'gw', 'outside': 'ou',
         'router': 'rt', 'red4': 'r4', 'red5': 'r5', 'blue4': 'b4'}
UDP_ONLY = frozenset(probe for probe in PROBES if probe.kind == 'udp')
MANY = 8        # lines of a kind; the first ones say enough


WRITTEN = "What the admin wrote to the VMs' vm-data (xsisolate/...; own addresses too), sealed"


def show_policies(screen: Screen, place: Place = LAN, title: str = WRITTEN) -> None:
    """Print what the admin wrote."""
    screen.head(title)
    for machine in place.machines:
        if machine in OTHERS:
            continue
        words = ['%s=%s' % (key.rpartition('/')[2], value)
                 for key, value in sorted((machine.policy or {}).items())
                 if key.rpartition('/')[2] not in ('ipv4', 'ipv6')]
        screen.say('  %-8s %-13s %s' % (machine.name, machine.ipv4,
                                        '  '.join(words) or 'nothing: unmanaged'))


def show_matrix(screen: Screen, place: Place, measured: Matrix, promised: Matrix) -> bool:
    """Print both matrices side by side, and what differs."""
    screen.head('Who reaches whom: %d probes (ping and UDP, IPv4 and IPv6, every pair)'
                % (len(promised) * len(PROBES)))
    heads = ' '.join(SHORT[machine.name] for machine in place.machines)
    screen.say('  %-8s %-*s   %s' % ('', max(len(heads) + 3, 28), 'MEASURED, from row to column',
                                     'POLICY SAYS'))
    wide = ' ' * max(0, 28 - len(heads) - 3) + ' ' * 6
    screen.say('  %-8s %s%s%s' % ('', heads, wide, heads))
    for source in place.machines:
        cells = [(source.name, target.name) for target in place.machines]
        left = [cell(screen, measured, promised, pair) for pair in cells]
        right = [symbol(promised[pair]) if pair in promised else '-' for pair in cells]
        screen.say('  %-8s %s%s%s' % (source.name, ' '.join(left), wide, '  '.join(right)))
    wrong = differences(measured, promised)
    screen.say('  %s all four   %s none   u UDP only   p ping only   ? some   ! not as policy says'
               % ('✓', '·'))
    show_some(screen, wrong)
    right_pairs = sum(measured[pair] == promised[pair] for pair in promised)
    screen.say('  %d of %d pairs as policy says: %s' % (
        right_pairs, len(promised), screen.verdict(not wrong)))
    return not wrong


def cell(screen: Screen, measured: Matrix, promised: Matrix, pair: Pair) -> str:
    """Return two characters for what was measured between two machines."""
    if pair not in promised:
        return '- '
    if measured[pair] != promised[pair]:
        return screen.paint(symbol(measured[pair]) + '!', 'bad')
    colour = 'good' if measured[pair] else 'dim'
    return screen.paint(symbol(measured[pair]), colour) + ' '


def symbol(probes: FrozenSet[Probe]) -> str:
    """Return one character for the probes that get through."""
    for symbol_, those in (('✓', frozenset(PROBES)), ('·', frozenset()), ('u', UDP_ONLY),
                           ('p', frozenset(PROBES) - UDP_ONLY)):
        if probes == those:
            return symbol_
    return '?'


def show_attacks(screen: Screen, before: Sequence[Outcome], after: Sequence[Outcome]) -> bool:
    """Print each attack without policies, where it must work, and with them."""
    screen.head('Eight attacks by the root user of a guest; every other port is watched')
    screen.say('  %-3s%-40s %-14s %s' % ('', '', 'no policies', 'with policies'))
    fine = True
    for number, (old, new) in enumerate(zip(before, after), 1):
        works, stopped = bool(old.seen_by), not new.seen_by
        fine = fine and works and stopped
        said = 'seen by ' + some(old.seen_by) if works else 'NOT SEEN'
        screen.say('  %d. %-40s %s %s' % (
            number, old.attack.title,
            screen.paint('%-14s' % said, 'dim' if works else 'bad'),
            screen.paint('stopped', 'good') if stopped else
            screen.paint('GOT THROUGH to ' + ', '.join(new.seen_by), 'bad')))
    screen.say('  %d of %d stopped: %s' % (sum(not one.seen_by for one in after), len(ATTACKS),
                                           screen.verdict(fine)))
    return fine


def some(names: Sequence[str]) -> str:
    """Return the name, or how many there are."""
    return names[0] if len(names) == 1 else '%d' % len(names)


def show_steps(screen: Screen, steps: List[Step]) -> bool:
    """Print how many flows there were as a VM came and went."""
    screen.head('A restart and a crash: flows of ours on the bridge')
    for step in steps:
        left = '%d of the dead domain, until the next hook' % step.stale if step.stale else ''
        screen.say('  %-52s %4d  %s%s' % (step.what, step.flows, screen.verdict(step.fine),
                                          '  ' + left if left else ''))
    fine = all(step.fine for step in steps)
    screen.say('  no orphan left: %s' % screen.verdict(fine))
    return fine


def show_coups(screen: Screen, coups: List[Coup]) -> bool:
    """Print what a guest's root gained by rewriting its own vm-data."""
    screen.head('%s wants to be in another group' % USURPER)
    for coup in coups:
        screen.say('  %-52s reaches %-19s %s' % (coup.what, ', '.join(coup.reached) or 'nobody',
                                                 screen.verdict(coup.fine)))
        if coup.said:
            screen.say('    the hook says: %.84s...' % coup.said)
    return all(coup.fine for coup in coups) and bool(coups[0].said)


def show_complaints(screen: Screen, complaints: Sequence[str]) -> bool:
    """Print what the hooks found wrong; nothing was meant to be."""
    show_some(screen, ['a hook says: %.300s' % line for line in complaints])
    return not complaints


def show_some(screen: Screen, lines: Sequence[str]) -> None:
    """Print the first of many lines about what is wrong."""
    for line in lines[:MANY]:
        screen.say('  ' + screen.paint(line, 'bad'))
    if len(lines) > MANY:
        screen.say('  ' + screen.paint('and %d more like these' % (len(lines) - MANY), 'bad'))


def show_timings(screen: Screen, timings: Sequence[Timing], interpreter: str) -> None:
    """Print how long the hooks took."""
    screen.head('How long each hook took, in ms (%s, process start included)' % interpreter)
    screen.say('  %-52s %5s %5s %6s %5s' % ('', 'calls', 'min', 'median', 'max'))
    for one in timings:
        screen.say('  %-52s %5d %5.0f %6.0f %5.0f' % one)
