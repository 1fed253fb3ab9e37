"""Build the sandbox, try everything, print what came of it.

Exit codes: 0 all is as it should be, 1 it is not, 130 interrupted.
"""
import argparse
import signal
import sys
import time
from typing import List, Optional

from demo.attacks import attack_all
from demo.coup import help_oneself
from demo.lifecycle import restart_and_crash
from demo.policy import promised
from demo.private import play_private, show_private
from demo.reach import measure
from demo.rollout import SABOTAGE, show_rollout
from demo.scene import BRIDGE, LAN, Scene
from demo.screen import Screen
from demo.session import show_session
from demo.stopwatch import UNMANAGED, TimedHooks, version_of
from demo.tables import (show_attacks, show_complaints, show_coups, show_matrix, show_policies,
                         show_steps, show_timings)
from sandbox.process import LabError, run
from sandbox.pythons import for_hooks
from sandbox.dom0 import Sandbox
from sandbox.seals import seal
from sandbox.vm import PlugFailed

INTERRUPTED = 130


def main(argv: Optional[List[str]] = None) -> int:
    """Run the demo; return its exit code."""
    options = get_parser().parse_args(argv)
    # set, for a shell that starts us in the background has SIGINT ignored
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, signal.default_int_handler)
    screen = Screen()
    try:
        return 0 if show(screen, options) else 1
    except KeyboardInterrupt:
        screen.progress('')
        screen.say('interrupted; everything is taken down')
        return INTERRUPTED
    except (LabError, PlugFailed, OSError) as error:
        screen.progress('')
        screen.say(screen.paint('the demo failed: %s' % str(error).strip(), 'bad'))
        return 1


def get_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='demo', description=__doc__.splitlines()[0])
    parser.add_argument('--hook-python', default=for_hooks(),
                        help='the interpreter that runs the hooks')
    parser.add_argument('--sabotage', action='store_true',
                        help='open the switch behind the hooks: the demo must notice')
    return parser


def show(screen: Screen, options: argparse.Namespace) -> bool:
    """Set the stage, and show everything; return whether all is as it should be."""
    began = time.monotonic()
    hooks = TimedHooks(options.hook_python)
    interpreter = version_of(options.hook_python)
    screen.progress('starting Open vSwitch, xenstored and eight VMs')
    with Sandbox(hooks, sealer=seal) as dom0:
        try:
            fine = play(screen, Scene(dom0), hooks, interpreter, options.sabotage)
        finally:    # taking it down is quick, and not to be cut short
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        screen.progress('taking everything down')
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, signal.default_int_handler)
    fine = (fine and show_rollout(screen, options.hook_python)
            and show_session(screen, options.hook_python))
    screen.progress('')
    screen.say()
    screen.say('%s  (%.0f s; everything is taken down again)' % (
        screen.paint('Everything is as it should be.', 'good') if fine else
        screen.paint('NOT everything is as it should be.', 'bad'), time.monotonic() - began))
    return fine


def play(screen: Screen, scene: Scene, hooks: TimedHooks, interpreter: str,
         sabotage: bool) -> bool:
    """Do and print one thing after the other."""
    hooks.remark = UNMANAGED
    scene.start()
    screen.progress('trying the eight attacks without policies')
    before = attack_all(scene)
    hooks.remark = ''
    screen.progress('writing vm-data, restarting the VMs')
    scene.apply_policies()
    if sabotage:
        scene.dom0.ovs.add_flow(BRIDGE, SABOTAGE)
    screen.progress('measuring who reaches whom')
    measured = measure(LAN, scene.hosts())
    screen.progress('trying the eight attacks again')
    after = attack_all(scene)
    screen.progress('restarting a VM, crashing it')
    steps = restart_and_crash(scene)
    complaints = list(hooks.complaints)     # of what follows one is due
    screen.progress('letting a guest rewrite its vm-data')
    coups = help_oneself(scene)
    screen.progress('building a private network behind a router VM')
    before_private = len(hooks.complaints)
    private = play_private(scene)
    complaints += hooks.complaints[before_private:]
    screen.progress('')
    show_title(screen, interpreter)
    show_policies(screen)
    fine = [show_matrix(screen, LAN, measured, promised()), show_attacks(screen, before, after),
            show_steps(screen, steps), show_coups(screen, coups), show_private(screen, private),
            show_complaints(screen, complaints)]
    show_timings(screen, hooks.timings(), interpreter)
    return all(fine)


def show_title(screen: Screen, interpreter: str) -> None:
    """Print what is real here, and what is not."""
    switch = run(['ovs-vswitchd', '--version']).splitlines()[0].split()[-1]
    screen.say(screen.paint('xsisolate: eight VMs on one bridge, four on another', 'bold')
               + ' of Open vSwitch %s, hooks run by %s' % (switch, interpreter))


if __name__ == '__main__':
    sys.exit(main())
