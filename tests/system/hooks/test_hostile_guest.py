"""A guest's root at its ring: whatever it writes, it gains no packet that no admin sealed.

The strangers around it are willing: they let it in wherever the choice is theirs, so
what keeps it apart is its own sealed policy.
"""
import threading
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, NamedTuple, Set, Tuple

import pytest

from sandbox import packets, traffic
from sandbox.hooks import HookRun
from sandbox.process import ip, wait_until
from sandbox.dom0 import SEAL, Sandbox
from sandbox.toolstack import GUEST_FOLDERS, backend, private
from sandbox.vm import Vm
from sandbox.wire import MKDIR, RM, TRANSACTION_START, XenstoreError

from support.reachability import SILENT_S, can_talk, mac_bytes, say, speech
from support.vm_events import end, refresh
from support.hook_log import lines
from support.switch import our_flows

from xsisolate.dom0.linux.lock import bridge_lock
from xsisolate.planner.cookie import Key, Kind, port_id
from xsisolate.vif_id import VifId

pytestmark = [pytest.mark.any_python, pytest.mark.host(sealed=True)]

GRACE = 1
CONFIG = '''\
version: 1
grace: %d
networks:
  xenbr0:
    subnets: [10.9.0.0/24]
'''
WATCH = 4               # xs_wire.h
POLICY = {'groups': 'red', 'vif/0/ipv4': '10.9.0.11'}
GUEST, FRIEND, RIVAL, PLAIN, DOM0 = ('10.9.0.%d' % n for n in (11, 12, 13, 99, 100))
WORD = b'smuggled'
HUSH_S = SILENT_S / 3       # there are many looks
FRIENDLY = {'guest <-> ' + FRIEND, 'friend <-> ' + GUEST}
FORGED_MAC = '02:66:66:66:66:66'


class Scene(NamedTuple):
    """Who lives on the bridge beside the guest."""

    host: Sandbox
    friend: Vm          # of the guest's group
    rival: Vm           # of another, with the guest on its allow list
    plain: Vm           # without a policy


@pytest.fixture(scope='module')
def scene(dom0: Sandbox) -> Scene:
    """A bridge with Dom0's own address on it, and three VMs that the switch knows."""
    dom0.add_bridge('xenbr0')
    dom0.configure(CONFIG % 0)
    ip(['addr add %s/24 dev xenbr0' % DOM0])
    scene = Scene(
        dom0,
        dom0.start_vm('friend', ipv4=FRIEND + '/24',
                      policy={'groups': 'red', 'vif/0/ipv4': FRIEND}),
        dom0.start_vm('rival', ipv4=RIVAL + '/24',
                      policy={'groups': 'blue', 'allow': GUEST, 'vif/0/ipv4': RIVAL}),
        dom0.start_vm('plain', ipv4=PLAIN + '/24'))
    for vm in (scene.friend, scene.rival):
        vm.send_all([speech(vm)])
        wait_until(lambda mac=vm.mac: any('dl_dst=' + mac in flow and 'reg13=' in flow
                                          for flow in our_flows(dom0)),
                   'the switch to learn where %s is' % vm.name)
    return scene


@pytest.fixture
def start(scene: Scene) -> Iterator[Callable[..., Vm]]:
    """Start VMs that are gone after the test."""
    def start_vm(policy: Any = POLICY, **more: Any) -> Vm:
        return scene.host.start_vm('guest', ipv4=GUEST + '/24', policy=policy, **more)

    yield start_vm
    for vm in [vm for vm in scene.host.vms if vm.name == 'guest']:
        end(vm)


@contextmanager
def grace(scene: Scene, seconds: int) -> Iterator[None]:
    """Let running VIFs keep their policy for a while."""
    scene.host.configure(CONFIG % seconds)
    yield
    scene.host.configure(CONFIG % 0)


# --- what must never happen ------------------------------------------------------------------


def leaks(scene: Scene, vm: Vm) -> FrozenSet[str]:
    """Return how a guest reaches strangers, or they it."""
    return contacts(scene, vm) - FRIENDLY


def contacts(scene: Scene, vm: Vm) -> FrozenSet[str]:
    """Let a guest and all others speak to each other; return who was heard where.

    Whatever carries a MAC address of the other side counts, ARP requests included.
    """
    names = {vm.mac: 'guest', FORGED_MAC: 'guest', scene.rival.mac: 'rival',
             scene.plain.mac: 'plain', dom0_mac(): 'Dom0'}
    at_dom0 = packets.Sniffer('xenbr0')
    hearers = (vm, scene.rival, scene.plain)
    for host in hearers:
        host.sniff()
    vm.send_all(voices(scene, vm))
    for host in hearers[1:]:
        host.send_all([speech(host), say(host.mac, host.address(), vm.mac, GUEST)])
    packets.send('xenbr0', say(dom0_mac(), DOM0), say(dom0_mac(), DOM0, vm.mac, GUEST))
    answered = ping_about(scene, vm)
    heard = {'%s -> %s' % (names[source], host.name) for host in hearers
             for source in sources(host.sniffed(wait=0)) & names.keys()
             if (names[source] == 'guest') != (host is vm)}
    heard |= {'guest -> Dom0' for source in sources(at_dom0.stop(None, 0))
              if names.get(source) == 'guest'}
    return frozenset(heard | answered)


def voices(scene: Scene, vm: Vm) -> Iterator[bytes]:
    """Yield what a guest says: as itself and as others, to all and to each."""
    for mac, address in ((vm.mac, GUEST), (vm.mac, RIVAL), (FORGED_MAC, GUEST)):
        yield say(mac, address, word=WORD)
        for to, at in ((scene.rival.mac, RIVAL), (scene.plain.mac, PLAIN), (dom0_mac(), DOM0)):
            yield say(mac, address, to, at, WORD)


def ping_about(scene: Scene, vm: Vm) -> Set[str]:
    """Let all ping at once, each the other side; the friend as well."""
    vm.post('ping', [FRIEND, RIVAL, PLAIN, DOM0], HUSH_S, 32, '')
    for host in scene[1:]:
        host.post('ping', [GUEST], HUSH_S, 32, '')
    found = {'Dom0 <-> guest' for _ in traffic.ping([GUEST], HUSH_S, 32, '')}
    for host in (vm, *scene[1:]):
        found |= {'%s <-> %s' % (host.name, address) for address in host.answer()}
    return found


def dom0_mac() -> str:
    """Return the MAC address that Dom0 has on the bridge."""
    with open('/sys/class/net/xenbr0/address') as file:
        return file.read().strip()


def sources(frames: List[bytes]) -> Set[str]:
    """Return the MAC addresses that frames come from."""
    return {frame[6:12].hex(':') for frame in frames}


def others_flows(scene: Scene) -> FrozenSet[str]:
    """Return the flows of all VIFs but the guest's; what they share is not theirs."""
    cookies = {'cookie=0x%x,' % Key(kind, port_id(VifId(vm.domid, 0), False)).cookie
               for vm in (scene.friend, scene.rival) for kind in (Kind.PORT, Kind.ENDPOINT)}
    return frozenset(flow for flow in our_flows(scene.host)
                     if any(cookie in flow for cookie in cookies) and 'table=0,' not in flow)


def is_sound(run: HookRun, seconds: float = 0) -> str:
    """Check that a hook ended well and in time; return what it said."""
    said = lines(run)
    assert run.code == 0 and all(line.isprintable() for line in said), run
    assert run.seconds < seconds + 2, run
    return '\n'.join(said)


def mode_of(fits: bool) -> str:
    """Return what a hook says of the guest when its vm-data fits the seal, or not."""
    return ' mode=isolated groups=red ' if fits else ' mode=quarantined '


def is_contained(scene: Scene, vm: Vm, fits: bool) -> None:
    """Check that a guest reaches its friend, if its policy fits, and nobody else."""
    found = contacts(scene, vm)
    assert found <= (FRIENDLY if fits else set())
    if fits and found != FRIENDLY:      # a busy machine
        assert can_talk(vm, FRIEND) and can_talk(scene.friend, GUEST)


def test_the_probe_hears_what_is_let_through(scene: Scene, start: Any) -> None:
    """All that the other tests say is worth as much as this."""
    ways = {'guest -> rival', 'guest -> plain', 'guest -> Dom0', 'rival -> guest',
            'plain -> guest', 'Dom0 -> guest', 'Dom0 <-> guest', 'guest <-> ' + RIVAL,
            'guest <-> ' + PLAIN, 'guest <-> ' + DOM0, 'rival <-> ' + GUEST, 'plain <-> ' + GUEST}
    vm = start(None)
    missing = ways - leaks(scene, vm) - leaks(scene, vm) - leaks(scene, vm)
    assert not missing
    vm.set_policy(POLICY)
    assert ' mode=isolated ' in is_sound(refresh(vm))
    is_contained(scene, vm, True)


# --- misdeeds --------------------------------------------------------------------------------


def attempt(call: Callable[..., Any], *args: Any) -> bool:
    """Try something that may be forbidden; tell whether it was not."""
    try:
        call(*args)
    except XenstoreError:
        return False
    return True


def key(name: str) -> str:
    return 'vm-data/xsisolate/' + name


def writes(**values: str) -> Callable[[Scene, Vm], None]:
    """Return the misdeed of writing policy keys; __ stands for a slash."""
    def write(scene: Scene, vm: Vm) -> None:
        for name, value in values.items():
            vm.xenstore.write(key(name.replace('__', '/')), value)
    return write


def removes(*paths: str) -> Callable[[Scene, Vm], None]:
    def remove(scene: Scene, vm: Vm) -> None:
        for path in paths:
            vm.xenstore.rm(path)
    return remove


WIDE = {'mode': 'unlocked', 'groups': 'red,blue', 'allow': '10.9.0.0/24,external',
        'vif/0/mode': 'unlocked', 'vif/0/allow': '10.9.0.0/24', 'vif/0/ipv4': '10.9.0.0/24'}


def rebuilds(scene: Scene, vm: Vm) -> None:
    """Remove everything and write it anew."""
    vm.xenstore.rm('vm-data/xsisolate')
    attempt(vm.xenstore.rm, 'vm-data')
    for name, value in WIDE.items():
        attempt(vm.xenstore.write, key(name), value)    # perhaps there is no vm-data any more


def turns_values_into_folders(scene: Scene, vm: Vm) -> None:
    vm.xenstore.rm(key('groups'))
    vm.xenstore.write(key('groups/blue'), 'blue')
    vm.xenstore.write(key('vif/0/ipv4/0'), RIVAL)


def turns_folders_into_values(scene: Scene, vm: Vm) -> None:
    vm.xenstore.rm(key('vif'))
    vm.xenstore.write(key('vif'), 'mode=unlocked')


def gives_rights_away(scene: Scene, vm: Vm) -> None:
    """Let the rival write the policy, who then does."""
    for path in ('vm-data', key(''), key('groups'), key('vif')):
        vm.xenstore.set_perms(path.rstrip('/'), 'n%d' % vm.domid, 'b%d' % scene.rival.domid)
    assert attempt(scene.rival.xenstore.write,
                   '/local/domain/%d/%s' % (vm.domid, key('groups')), 'blue')


def gives_its_nodes_away(scene: Scene, vm: Vm) -> None:
    """Try to make it look as if they were another's."""
    for owner in ('n0', 'n%d' % scene.rival.domid, 'b0'):
        attempt(vm.xenstore.set_perms, key('groups'), owner)
    attempt(vm.xenstore.set_perms, key('groups'), 'n%d' % vm.domid)


def claims_another_nic(scene: Scene, vm: Vm) -> None:
    """Rewrite the frontend, which is the guest's own."""
    for name, value in (('mac', scene.rival.mac), ('backend', backend(scene.rival.domid, 0)),
                        ('backend-id', str(scene.rival.domid)), ('handle', '7'),
                        ('disconnect', '1'), ('bridge', 'xapi9'), ('mode', 'unlocked')):
        vm.xenstore.write('device/vif/0/' + name, value)
    vm.xenstore.write('device/vif/1/mac', scene.rival.mac)


def removes_its_nic(scene: Scene, vm: Vm) -> None:
    vm.xenstore.rm('device/vif/0')
    attempt(vm.xenstore.rm, 'device')


def writes_elsewhere(scene: Scene, vm: Vm) -> None:
    """Write a policy wherever it may, and try where it may not."""
    for folder in GUEST_FOLDERS:
        for name, value in WIDE.items():
            for root in ('/', '/xsisolate/', '/vif/0/'):
                if folder != 'vm-data' or root != '/xsisolate/':
                    attempt(vm.xenstore.write, folder + root + name, value)
    for path in forbidden(vm):
        assert not attempt(vm.xenstore.write, path, 'x'), path
        assert is_missing(vm, path) or not attempt(vm.xenstore.request, RM, path), path
        assert not attempt(vm.xenstore.set_perms, path, 'n%d' % vm.domid), path


def is_missing(vm: Vm, path: str) -> bool:
    """Tell whether there is no such node: xenstored lets anybody remove that."""
    return vm.dom0.store.get(path) is None


def forbidden(vm: Vm) -> Iterator[str]:
    """Yield nodes about a VM that its guest must not change."""
    home = '/local/domain/%d' % vm.domid
    for name in ('', '/vm', '/domid', '/name', '/xsisolate'):
        yield home + name
    for name in ('', '/uuid', '/final-uuid', '/origin-uuid', '/devices/vif/0'):
        yield '/vm/' + vm.uuid + name
    for name in ('', '/bridge', '/mac', '/locking-mode', '/setup-vif-rules', '/ipv4-allowed'):
        yield private(vm.uuid, 0) + name
    for name in ('', '/script', '/mac', '/hotplug-status'):
        yield backend(vm.domid, 0) + name
    yield '/xenops/domain/%d/device/vif/0/backend' % vm.domid


def leaves_a_transaction_open(scene: Scene, vm: Vm) -> None:
    """Write in a transaction that does not end, and around it."""
    vm.xenstore._transaction = int(vm.xenstore.request(TRANSACTION_START, '').rstrip(b'\0'))
    for name, value in WIDE.items():
        vm.xenstore.write(key(name), value)
    vm.xenstore._transaction = 0


def watches_everything(scene: Scene, vm: Vm) -> None:
    for number in range(100):
        attempt(vm.xenstore.request, WATCH, 'vm-data', 'token%d' % number)
        attempt(vm.xenstore.request, WATCH, backend(vm.domid, 0), 'token%d' % number)


# misdeed -> does what stands in vm-data after it still mean what was sealed?
MISDEEDS: Dict[str, Tuple[Callable[[Scene, Vm], None], bool]] = {
    'another mode': (writes(mode='unlocked'), False),
    'another mode of the VIF': (writes(vif__0__mode='unlocked'), False),
    'one group more': (writes(groups='red,blue'), False),
    'one group more, numbered': (writes(**{'groups-1': 'blue'}), False),
    'peers': (writes(allow='10.9.0.0/24,external'), False),
    'peers of the VIF': (writes(vif__0__allow='10.9.0.0/24'), False),
    'more addresses': (writes(vif__0__ipv4='10.9.0.0/24'), False),
    "the rival's address and group": (writes(groups='blue', vif__0__ipv4=RIVAL), False),
    'no keys': (removes(key('groups'), key('vif')), False),
    'no policy': (removes('vm-data/xsisolate'), False),
    'no vm-data': (removes('vm-data'), False),
    'all of it anew': (rebuilds, False),
    'folders for values': (turns_values_into_folders, False),
    'values for folders': (turns_folders_into_values, False),
    'rights for others': (gives_rights_away, False),
    'nodes for others': (gives_its_nodes_away, True),
    'the same in other words': (writes(groups='red\n, red ', vif__0__ipv4=GUEST + '/32'), True),
    "other VIFs' policies": (writes(vif__1__mode='unlocked', vif__00__mode='unlocked'), True),
    'another NIC': (claims_another_nic, True), 'no NIC': (removes_its_nic, True),
    'elsewhere': (writes_elsewhere, True),
    'an open transaction': (leaves_a_transaction_open, True),
    'watches': (watches_everything, True)}


def reform(vm: Vm) -> None:
    """Give a guest the vm-data that was sealed, its own as after a start."""
    folder = '/local/domain/%d/vm-data' % vm.domid
    vm.dom0.store.rm(folder)
    vm.dom0.store.make(folder, 'n%d' % vm.domid)
    vm.dom0.store.write_all(folder + '/xsisolate', POLICY)
    assert ' mode=isolated ' in is_sound(refresh(vm))


@pytest.fixture(scope='class')
def sinner(scene: Scene) -> Iterator[List[Vm]]:
    """A guest for one misdeed after the other, in the domain that it is by now."""
    found = [scene.host.start_vm('guest', ipv4=GUEST + '/24', policy=POLICY)]
    yield found
    found[0].shutdown()


class TestMisdeeds:
    """One guest does them all, and is gone when others get its address."""

    @pytest.mark.parametrize('kind', MISDEEDS)
    def test_a_misdeed_gains_nothing(self, scene: Scene, sinner: List[Vm], kind: str) -> None:
        """Before a refresh, and before a reboot, which carries over what the guest wrote."""
        (misdeed, fits), vm, others = MISDEEDS[kind], sinner[0], others_flows(scene)
        reform(vm)
        misdeed(scene, vm)
        assert mode_of(fits) in is_sound(refresh(vm))
        is_contained(scene, vm, fits)
        vm = sinner[0] = vm.reboot()
        assert mode_of(fits) in is_sound(vm.runs[-1])
        is_contained(scene, vm, fits)
        assert others_flows(scene) == others


@pytest.mark.parametrize('kind', ['all of it anew', 'no policy', 'another NIC', 'watches'])
def test_a_misdeed_before_the_plug_gains_nothing(scene: Scene, start: Any, kind: str) -> None:
    """xenopsd has built the domain, and the guest is quicker than udev."""
    misdeed, fits = MISDEEDS[kind]
    vm, others = start(plug=False), others_flows(scene)
    vm.cable(0)
    misdeed(scene, vm)
    runs = vm.fire(scene.host.hotplug.plug(vm, 0))
    assert mode_of(fits) in is_sound(runs[-1])
    is_contained(scene, vm, fits)
    assert others_flows(scene) == others


def test_a_guest_that_no_admin_gave_a_policy_gets_none(scene: Scene, start: Any) -> None:
    """Locked by XAPI, it would rather be unlocked, or in a group."""
    vm = start(None, locking_mode='locked', ipv4_allowed=(GUEST,))
    for policy in ({'mode': 'unlocked'}, {'groups': 'blue'}, WIDE):
        for name, value in policy.items():
            vm.xenstore.write(key(name), value)
        assert ' mode=quarantined ' in is_sound(refresh(vm))
        is_contained(scene, vm, False)
    vm.xenstore.rm('vm-data/xsisolate')
    assert ' mode=locked ' in is_sound(refresh(vm))


def test_a_seal_is_good_for_its_own_vif(scene: Scene, start: Any) -> None:
    """A clone, and another VIF, that carry the same vm-data and the same other_config."""
    vm = start()
    clone = scene.host.start_vm('guest', ipv4=GUEST + '/24', plug=False)
    clone.set_vm_data({'xsisolate/' + name: value for name, value in POLICY.items()})
    clone.set_vif(other_config=vm.vifs[0].other_config)
    vm.shutdown()
    assert ' mode=quarantined ' in is_sound(clone.plug()[-1])
    is_contained(scene, clone, False)


# --- while a hook runs -----------------------------------------------------------------------


@contextmanager
def flipping(vm: Vm, states: List[Dict[str, str]]) -> Iterator[List[int]]:
    """Let the guest put vm-data from one state into the next as fast as its ring goes."""
    over, turns = threading.Event(), [0]

    def flip() -> None:
        while not over.is_set():
            for state in states:
                for name in sorted(WIDE.keys() | state.keys()):
                    if name in state:
                        vm.xenstore.write(key(name), state[name])
                    else:
                        vm.xenstore.rm(key(name))
                turns[0] += 1
    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield turns
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize('bad', [WIDE, {'groups': 'blue', 'vif/0/ipv4': GUEST}, {}])
def test_a_guest_that_is_quick(scene: Scene, start: Any, bad: Dict[str, str]) -> None:
    vm, others = start(), others_flows(scene)
    with grace(scene, GRACE), flipping(vm, [POLICY, bad]) as turns:
        for _ in range(3):
            said = is_sound(refresh(vm), GRACE)
            assert mode_of(True) in said or mode_of(False) in said
        assert not leaks(scene, vm)
        vm.unplug()
        assert is_sound(vm.plug()[-1], GRACE)
        assert not leaks(scene, vm) and turns[0] > 100
    assert others_flows(scene) == others
    reform(vm)
    is_contained(scene, vm, True)


def test_doubt_ends_with_the_grace(scene: Scene, start: Any) -> None:
    """A hook waits so long and no longer, and what runs meanwhile is the sealed policy."""
    vm = start()
    vm.xenstore.write(key('mode'), 'unlocked')
    with grace(scene, 2):
        waiting: List[HookRun] = []
        thread = threading.Thread(target=lambda: waiting.append(refresh(vm)))
        thread.start()
        is_contained(scene, vm, True)
        thread.join()
        assert ' mode=quarantined ' in is_sound(waiting[0], 2) and waiting[0].seconds > 2
        assert ' mode=quarantined ' in is_sound(refresh(vm))     # and has none a second time
    is_contained(scene, vm, False)


@pytest.mark.parametrize('locking, allowed', [('disabled', ()), ('locked', ('10.9.0.77',))])
def test_doubt_does_not_put_off_what_xapi_demands(scene: Scene, start: Any, locking: str,
                                                  allowed: Tuple[str, ...]) -> None:
    """The guest spoils its vm-data to keep its policy when XAPI locks it in."""
    vm = start()
    vm.xenstore.write(key('mode'), 'unlocked')
    with grace(scene, 20):
        assert ' mode=quarantined ' in is_sound(vm.set_locking(locking, allowed)[0])
    is_contained(scene, vm, False)


def test_doubt_does_not_put_off_a_roster(scene: Scene, start: Any) -> None:
    """Nor when an admin has struck it off its group's roster."""
    vm = start()
    vm.xenstore.write(key('mode'), 'unlocked')
    scene.host.configure(CONFIG % 20 + 'groups:\n  red:\n    vms: ["%s"]\n' % scene.friend.uuid)
    try:
        assert ' mode=quarantined ' in is_sound(refresh(vm))
        is_contained(scene, vm, False)
    finally:
        scene.host.configure(CONFIG % 0)


@pytest.mark.parametrize('fields', [
    {'locking_mode': 'disabled'}, {'locking_mode': 'locked', 'ipv4_allowed': ('10.9.0.77',)},
    {'other_config': {}}, {'other_config': {SEAL: '1:' + '0' * 64}}])
def test_a_hook_in_line_does_not_keep_what_xapi_took(scene: Scene, start: Any,
                                                     fields: Dict[str, Any]) -> None:
    """It has seen a good policy and waits for the bridge; XAPI changes its mind, the guest too."""
    vm, waiting = start(), []
    with bridge_lock('xenbr0'):
        thread = threading.Thread(target=lambda: waiting.append(refresh(vm)))
        thread.start()
        time.sleep(0.7)         # by now it has looked
        vm.xenstore.write(key('mode'), 'unlocked')
        vm.set_vif(**fields)
    thread.join()
    assert ' mode=quarantined ' in is_sound(waiting[0], 1)
    is_contained(scene, vm, False)


def test_an_older_policy_does_not_come_back(scene: Scene, start: Any) -> None:
    """An admin has taken the rival's group away; the guest has kept a copy of its vm-data."""
    wider = dict(POLICY, groups='blue,red')
    vm = start(wider)
    vm.set_policy(POLICY)
    assert ' groups=red ' in is_sound(refresh(vm))
    is_contained(scene, vm, True)
    vm = vm.reboot()        # vm-data is the guest's again
    vm.xenstore.write(key('groups'), wider['groups'])
    assert ' mode=quarantined ' in is_sound(refresh(vm))
    is_contained(scene, vm, False)


# --- migration -------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', [None, 'all of it anew', 'one group more', 'no policy'])
def test_a_migration_carries_no_misdeed_over(scene: Scene, start: Any, kind: Any) -> None:
    """Before it, under the temporary uuid, and when the VM has arrived."""
    vm, fits = start(), kind is None
    if kind:
        MISDEEDS[kind][0](scene, vm)
    others = others_flows(scene)
    incoming = scene.host.migrate_in(vm)
    assert mode_of(fits) in is_sound(incoming.runs[-1])
    assert not leaks(scene, incoming)
    if not fits:
        is_sound(refresh(vm))
    assert not leaks(scene, vm)
    vm.depart()
    assert not leaks(scene, incoming)
    incoming.arrive()
    is_contained(scene, incoming, fits)
    assert mode_of(fits) in is_sound(refresh(incoming))
    is_contained(scene, incoming, fits)
    MISDEEDS['all of it anew'][0](scene, incoming)
    assert ' mode=quarantined ' in is_sound(refresh(incoming))
    is_contained(scene, incoming, False)
    assert others_flows(scene) == others


def test_a_guest_cannot_name_its_own_uuid(scene: Scene, start: Any) -> None:
    """The seal is made for the uuid that /vm says; a guest would say its friend's."""
    vm = start(plug=False)
    vm.cable(0)
    for path in ('/vm/%s/final-uuid', '/vm/%s/origin-uuid', '/vm/%s/uuid'):
        assert not attempt(vm.xenstore.write, path % vm.uuid, scene.friend.uuid)
    assert not attempt(vm.xenstore.write, 'vm', '/vm/' + scene.friend.uuid)
    assert ' mode=isolated ' in is_sound(vm.fire(scene.host.hotplug.plug(vm, 0))[-1])


# --- neighbours ------------------------------------------------------------------------------


def test_a_neighbours_tree_is_out_of_reach(scene: Scene, start: Any) -> None:
    """Another tenant's guest tries to spoil this one's policy, or to open it."""
    vm, rival = start(), scene.rival.xenstore
    home = '/local/domain/%d/' % vm.domid
    before = scene.host.store.tree(home.rstrip('/'))
    paths = [home + path for path in GUEST_FOLDERS + (
        key('groups'), key('mode'), key('vif/0/ipv4'), key('vif/0/mode'), 'device/vif/0/mac')]
    for path in paths + list(forbidden(vm)):
        assert not attempt(rival.write, path, 'blue'), path
        assert not attempt(rival.request, MKDIR, path + '/more'), path
        assert is_missing(vm, path) or not attempt(rival.request, RM, path), path
        assert not attempt(rival.set_perms, path, 'n%d' % scene.rival.domid), path
    assert scene.host.store.tree(home.rstrip('/')) == before
    assert ' mode=isolated ' in is_sound(refresh(vm))
    is_contained(scene, vm, True)


def test_the_fixture_seals(scene: Scene, start: Any) -> None:
    """Or all of this would show no more than that unsealed policies do not count."""
    assert start().vifs[0].other_config[SEAL].startswith('1:')
    assert mac_bytes(FORGED_MAC) in say(FORGED_MAC, GUEST)
