"""A self-test notices what is broken: a flow, the library, the way a hook works."""
import itertools
import os
import signal
import threading
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

import pytest
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm
from xsisolate.activation import preconditions
from xsisolate.dataplane import switch_needs
from xsisolate.dom0.ovs.trial_bridge import TRIAL_BRIDGE
from xsisolate.hooks import plug as hooks_plug
from xsisolate.openflow.flow import Flow, FlowDiff, make_flow
from xsisolate.pipeline import decision, tables
from xsisolate.pipeline.port_security import port_identity_flows
from xsisolate.pipeline.terms import goto
from xsisolate.planner import vif_items
from xsisolate.selftest import checks
from xsisolate.selftest import run as selftest_run
from xsisolate.selftest.leftovers import DEVICES, find_left
from xsisolate.selftest.radio import Radio
from xsisolate.selftest.scene import Scene
from xsisolate.selftest.speed import Speed

from support.command import DIFFERENT, DONE, FAILED, Outcome, xsisolate
from support.packets.broken_pipeline import find_flows

STALL_AT = 100      # frames have been sent
STALL_S = 1.2
NO_SPEED = {'managed': Speed(1.0, 1.0), 'unmanaged': Speed(1.0, 1.0)}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure nothing: that is not what is broken here."""
    monkeypatch.setattr(selftest_run, 'measure', lambda *_: NO_SPEED)


# The long stages, by the area that they are of: what they would have said if they are left out.
STAGES = {
    'reachability': (checks, 'reach', checks.Reached((), ())), 'attacks': (checks, 'attack', ()),
    'connection tracking': (checks, 'converse', ()), 'change of policy': (checks, 'change', ()),
    'counters': (checks, 'count', ()), 'permissive': (selftest_run, 'permit', ())}


def try_only(monkeypatch: pytest.MonkeyPatch, *areas: str) -> None:
    """Leave out what is of other areas, which test_nothing_is_broken tries."""
    for area, (module, name, nothing) in STAGES.items():
        if area not in areas:
            monkeypatch.setattr(module, name, lambda *_, said=nothing: said)


def areas_of(outcome: Outcome) -> List[str]:
    """Return the areas in which something differs."""
    return sorted({one['area'] for one in outcome.json['outcomes'] if not one['fine']})


def after_plugging(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[], None]) -> None:
    """Have something done to the bridge when everybody is on it."""
    plug_all = checks.plug_all

    def plug_and_spoil(scene: Scene) -> Iterator[Any]:
        yield from plug_all(scene)
        spoil()
    monkeypatch.setattr(checks, 'plug_all', plug_and_spoil)


class Spoiled(NamedTuple):
    """A flow of the bridge that is changed, and where that is noticed."""

    what: str
    table: int
    priority: int
    part: str               # of its match
    then: Optional[int]     # the stage that follows instead; None: the flow is gone
    area: str


SPOILED = (
    Spoiled('claims are not asked', tables.CLAIMED, 0, '', tables.SETTLE, 'attacks'),
    Spoiled('nobody is asked on the way in', tables.INGRESS_ANSWER, 0, '', tables.ACCEPT,
            'reachability'),
    Spoiled('nobody is asked on the way out', tables.EGRESS_ANSWER, 0, '', tables.INGRESS,
            'reachability'),
    Spoiled('answers that nobody asked for', tables.REPLY, 0, '', tables.PASS,
            'connection tracking'),
    Spoiled('answers do not come back', tables.REPLY, 10, '+rpl', None, 'reachability'),
    Spoiled('members are not known any more', tables.MEMBER, 50, '', None, 'reachability'))


@pytest.mark.parametrize('spoiled', SPOILED, ids=[one.what for one in SPOILED])
def test_a_flow_is_broken(dom0: Sandbox, vms: Tuple[Vm, Vm], monkeypatch: pytest.MonkeyPatch,
                          spoiled: Spoiled) -> None:
    def spoil() -> None:
        flows = find_flows(dom0.ovs, TRIAL_BRIDGE, spoiled.table, spoiled.priority, spoiled.part)
        assert flows, 'no such flow to break'
        for flow in flows:
            head = ', '.join(word for word in flow.split(' actions=')[0].split(', ')
                             if not word.startswith('cookie='))
            if spoiled.then is None:
                dom0.ovs.ofctl('--strict', 'del-flows', TRIAL_BRIDGE, head)
            else:
                dom0.ovs.ofctl('--strict', 'mod-flows', TRIAL_BRIDGE,
                               '%s actions=%s' % (head, goto(spoiled.then)))
        dom0.ovs.settle()
    after_plugging(monkeypatch, spoil)
    try_only(monkeypatch, spoiled.area)
    assert spoiled.area in areas_of(xsisolate('selftest', '--json', code=DIFFERENT))
    assert not find_left()


def test_a_flow_that_lets_all_pass(dom0: Sandbox, vms: Tuple[Vm, Vm],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """As a careless controller would add it."""
    after_plugging(monkeypatch, lambda: dom0.ovs.add_flow(
        TRIAL_BRIDGE, 'priority=65535,actions=NORMAL'))
    try_only(monkeypatch, 'reachability', 'attacks')
    outcome = xsisolate('selftest', code=DIFFERENT)
    assert 'NOT everything is as it should be' in outcome.lines[-1]
    assert 'GOT THROUGH to' in outcome.out
    assert '! ' in [line for line in outcome.lines if line.startswith('red1 ')][0]
    assert 'more that differ: see --json' in outcome.out
    assert not find_left()


def test_a_port_that_hears_floods(dom0: Sandbox, vms: Tuple[Vm, Vm],
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil() -> None:
        dom0.ovs.ofctl('mod-port', TRIAL_BRIDGE, DEVICES[1], 'flood')
        dom0.ovs.settle()
    after_plugging(monkeypatch, spoil)
    try_only(monkeypatch, 'attacks')
    assert 'attacks' in areas_of(xsisolate('selftest', '--json', code=DIFFERENT))


def without_count(*_: Any) -> Iterator[Flow]:
    """Yield nothing."""
    return iter(())


def open_answers(table: int, following: int) -> Iterator[Flow]:
    """Yield what lets all pass, whatever the answer is."""
    yield make_flow(table, 0, [''], goto(following))


def any_mac(ofport: int, mac: str) -> Iterator[Flow]:
    """Yield flows that ask for a port's MAC address in ARP and ND only."""
    for flow in port_identity_flows(ofport, mac):
        yield flow if flow.priority > 50 else make_flow(
            tables.BIND, 50, ['in_port=%d' % ofport], goto(tables.CLAIM))


LIBRARY = {
    'drops are not counted': (vif_items, 'isolation_count_flows', without_count, 'counters'),
    'nobody is asked': (decision, '_answers', open_answers, 'reachability'),
    'everybody is only locked': (vif_items, 'sender_flags', lambda policy: (tables.MANAGED,),
                                 'reachability'),
    'a port is not bound to its MAC address': (
        vif_items, 'port_identity_flows',
        lambda ofport, mac: iter([make_flow(
            tables.BIND, 200, ['in_port=%d' % ofport], goto(tables.SETTLE))]), 'attacks'),
    'a port may have any MAC address': (vif_items, 'port_identity_flows', any_mac, 'attacks'),
    'an unplug leaves the flows': (hooks_plug, '_unplug_all', lambda *_: FlowDiff(), 'unplug')}


@pytest.mark.parametrize('what', LIBRARY)
def test_the_library_is_broken(vms: Tuple[Vm, Vm], monkeypatch: pytest.MonkeyPatch,
                               what: str) -> None:
    module, name, other, area = LIBRARY[what]
    monkeypatch.setattr(module, name, other)
    try_only(monkeypatch, area)
    assert area in areas_of(xsisolate('selftest', '--json', code=DIFFERENT))
    assert not find_left()


def test_a_refresh_that_loses_frames(vms: Tuple[Vm, Vm], monkeypatch: pytest.MonkeyPatch) -> None:
    """As the stock script does: it takes the link down for a moment."""
    change = Scene.change

    def blink(scene: Scene, party: Any) -> Any:
        hooks_plug.netdev.set_down(party.vif.vif)
        done = change(scene, party)
        hooks_plug.netdev.set_up(party.vif.vif)
        return done
    monkeypatch.setattr(Scene, 'change', blink)
    try_only(monkeypatch, 'refresh')
    assert 'refresh' in areas_of(xsisolate('selftest', '--json', code=DIFFERENT))


def test_a_datapath_without_labels(vms: Tuple[Vm, Vm], monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what does not work then, and what happens instead."""
    monkeypatch.setattr(switch_needs, 'read_datapath_features', lambda bridge: {'CT label': 'No'})
    try_only(monkeypatch)
    outcome = xsisolate('selftest', code=DIFFERENT)
    assert 'no VIF with a policy can be programmed' in outcome.out
    assert 'lacks CT label' in xsisolate('doctor', code=FAILED).out


def test_a_switch_that_stands_still(dom0: Sandbox, vms: Tuple[Vm, Vm],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy host, in the midst of a batch; nothing is wrong, frames only come late."""
    send, sent = Radio.send, itertools.count(1)

    def send_and_stall(radio: Radio, name: str, frame: bytes) -> None:
        send(radio, name, frame)
        if next(sent) == STALL_AT:
            pid = dom0.ovs.vswitchd.pid
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(STALL_S, os.kill, (pid, signal.SIGCONT)).start()
    monkeypatch.setattr(Radio, 'send', send_and_stall)
    try_only(monkeypatch, 'reachability')
    report = xsisolate('selftest', '--json', code=DONE).json
    assert next(sent) > STALL_AT
    repeated, = (one['values'] for one in report['measured']
                 if one['what'] == 'rows sent once more')
    assert repeated == [0]


def test_nothing_is_broken(vms: Tuple[Vm, Vm]) -> None:
    """So that what is noticed above is what was broken."""
    report = xsisolate('selftest', '--json', code=DONE).json
    assert report['fine']


def test_activate_refuses_a_datapath_without_labels(vms: Tuple[Vm, Vm],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(preconditions._poor_switches())
    monkeypatch.setattr(switch_needs, 'read_datapath_features', lambda bridge: {'CT label': 'No'})
    said, = preconditions._poor_switches()
    assert said.startswith('bridge xenbr0: its datapath lacks CT label (')
