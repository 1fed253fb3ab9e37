"""Plays rows and says what went wrong, with the switch's own words."""
from typing import Callable, Dict, Iterable, List, Mapping, Sequence, Tuple

from support.packets.rows import Case
from support.packets.frames import Ether
from support.packets.radio import misses, verdict
from support.packets.shared_network import World

SLOW_STEP_S = 0.3
TRACED = 3          # of many failures these are explained
ATTACKS, LEGITIMATE = 'attacks stopped', 'legitimate passed'
# Rows that went as they should and rows played, by kind and family.
TALLY: Dict[Tuple[str, str], Tuple[int, int]] = {}

Table = Callable[[Mapping[str, object]], Iterable[Case]]


def play(world: World, cases: Sequence[Case]) -> List[str]:
    """Send the rows; return a line for each that went wrong."""
    world.prime()
    seen = world.radio.run(cases)
    # On a busy machine the switch's threads may turn a step and what follows it round. What was
    # seen where it must not be stays seen.
    overtaken = [case for case in cases if case.steps and misses(case, seen[case.id])]
    for name, places in world.radio.run(overtaken, step_s=SLOW_STEP_S).items():
        for place, frames in places.items():
            seen[name].setdefault(place, set()).update(frames)
    wrong = [(case, verdict(case, seen[case.id])) for case in cases]
    return ['%s: %s' % (case.id, why) for case, why in wrong if why]


def explain(world: World, cases: Sequence[Case], lines: Sequence[str]) -> str:
    """Return the failures in full: the frames, who saw them, what the switch did."""
    text = ['%d of %d rows' % (len(lines), len(cases)), *lines]
    named = {case.id: case for case in cases}
    failed = [case for name, case in named.items() if any(line.startswith(name + ': ')
                                                          for line in lines)]
    for case in failed[:TRACED]:
        for frame in case.frames:
            text += ['', case.id, Ether(frame).show(dump=True), frame.hex(),
                     world.radio.trace(case.sender, frame)]
    return '\n'.join(text)


def check(world: World, cases: Sequence[Case], kind: str = '') -> None:
    """Fail unless every row goes as the table says; with a kind, count it for the summary."""
    lines = play(world, cases)
    for case in cases if kind else ():
        key = kind, case.id.split(': ')[0]
        good, played = TALLY.get(key, (0, 0))
        went_well = not any(line.startswith(case.id + ': ') for line in lines)
        TALLY[key] = good + went_well, played + 1
    assert not lines, explain(world, cases, lines)


def select(families: Mapping[str, Table], world: World, names: Iterable[str]) -> List[Case]:
    """Return the rows of some families."""
    return [case._replace(id='%s: %s' % (name, case.id)) for name in names
            for case in families[name](world.who) if case.frames and all(
                who in world.radio.stations for who in [case.sender] + [s[0] for s in case.steps])]
