"""Planning calls nothing that could reach a file, a socket, a clock or a process.

Imports do not tell: what plans could be handed a function. So all its calls are watched.
"""
import gc
import os
import sys

import pytest

from support.bridge_scenarios import SCENARIOS, mac_of, make_scenario, make_vif, member, registry_of
from xsisolate import planner
from xsisolate.planner.address_owners import wanted_addresses
from xsisolate.planner.context import GroupInput, PlanContext
from xsisolate.planner.mute_vifs import changing_macs
from xsisolate.planner.plan import disturbed, draft_plan, finish_plan

LIB = os.path.dirname(os.path.dirname(os.path.abspath(planner.__file__)))
PURE = tuple(os.path.join(LIB, name) for name in (
    'policy' + os.sep, 'openflow' + os.sep, 'pipeline' + os.sep, 'planner' + os.sep,
    'typing_compat.py', 'vif_id.py', 'sha256.py', 'errors.py'))
# Python code of the standard library that they call, and <string>: named tuples.
STDLIB = {'enum.py', 're.py', 'types.py', 'functools.py', 'typing.py', '<string>'}
C_MODULES = {'builtins', '_sre', 're', '_sha256', '_sha2', '_hashlib', '_functools', 'functools',
             '_operator', 'itertools'}
BUILTINS = {'open', 'print', 'input', 'exec', 'eval', 'compile', '__import__', 'breakpoint'}


def is_pure_code(path):
    """Tell whether a Python function's file may be called."""
    return path.startswith(PURE) or path == __file__ or os.path.basename(path) in STDLIB


def is_pure_builtin(function):
    """Tell whether a function in C is harmless by the module or the type that it belongs to."""
    owner = function.__self__
    if isinstance(owner, type(os)):
        return owner.__name__ in C_MODULES and function.__name__ not in BUILTINS
    return owner is None or isinstance(owner, tuple) or type(owner).__module__ in C_MODULES


def watch(function, *arguments):
    """Return what a function returns, and the calls by which it left what is pure."""
    outside = []

    def note(frame, event, arg):
        if event == 'call' and not is_pure_code(frame.f_code.co_filename):
            outside.append('%s in %s' % (frame.f_code.co_name, frame.f_code.co_filename))
        elif event == 'c_call' and arg is not sys.setprofile and not is_pure_builtin(arg):
            outside.append('%s of %s' % (arg.__name__, frame.f_code.co_name))

    gc.disable()        # what it cleans up is others'
    sys.setprofile(note)
    try:
        result = function(*arguments)
    finally:
        sys.setprofile(None)
        gc.enable()
    return result, outside


def plan_everything(registry, vifs, around, thorough):
    """Do all that is planned for a bridge; return the plan."""
    claims = {group: around.members.get(group, ())
              for group in wanted_addresses(registry, vifs)}
    context = PlanContext(around.topology, around.ofports, around.config, thorough, claims)
    draft = draft_plan(registry, vifs, context)
    for vif in vifs:
        disturbed(registry, vif, around.ofports)
        changing_macs(registry, vif, context)
    return finish_plan(draft, {group: GroupInput(around.stamp, around.members.get(group, ()))
                               for group in draft.groups})


def plan_watched(registry, scenario, thorough=False):
    """Return a plan; nothing else may happen."""
    plan, outside = watch(plan_everything, registry, scenario.vifs, scenario.around, thorough)
    assert outside == []
    return plan


CLAIMED = make_scenario([make_vif(11, own='10.9.0.11', groups='red')],
                        members={'red': [member(1, '10.9.0.11')]})
COPY = make_scenario([make_vif(11, own='10.9.0.11'),
                      make_vif(12)._replace(mac=mac_of(11)), make_vif(13, own='10.9.0.11')])
ALL = dict(SCENARIOS, claimed=CLAIMED, copy=COPY)


@pytest.mark.parametrize('name', sorted(ALL))
def test_planning_reaches_nothing(name):
    first = plan_watched({}, ALL[name], thorough=True)      # as a sync does, then as a hook
    plan_watched(registry_of(first.items), ALL[name])


def test_these_scenarios_have_what_a_planner_could_be_tempted_to_read():
    assert 'another host' in plan_watched({}, CLAIMED).vifs[0].policy.reason
    assert any(scenario.around.members for scenario in SCENARIOS.values())


@pytest.mark.parametrize('call', [
    lambda: open(os.devnull).close(), lambda: os.stat('/'), lambda: os.getenv('HOME'),
    lambda: __import__('time').time(), lambda: __import__('time').sleep(0),
    lambda: __import__('xsisolate.dom0.run_files.group_members')])
def test_the_watch_sees_what_it_is_there_for(call):
    assert watch(call)[1]
