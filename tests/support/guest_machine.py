"""What may happen to VMs whose guests, admin and toolstack all act at will, as a state machine.

xenstore, its rings and the metadata files are real. A model keeps what the admin has
sealed, in vm-data's own words; `Outcome`s of hooks are held against it. How a hook is
run is the subclass's affair.
"""
import ipaddress
from collections import Counter
from typing import Any, Callable, ClassVar, Dict, FrozenSet, List, NamedTuple, Optional, Set, Tuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sandbox import metadata, seals
from sandbox.guest import GuestConnection
from sandbox.metadata import VifRecord
from sandbox.dom0 import SEAL
from sandbox.toolstack import (GUEST_FOLDERS, Domain, Toolstack, departing_uuid, home_of,
                               temporary_uuid)
from sandbox.wire import XenstoreError

Words = Dict[str, str]          # keys below vm-data/xsisolate

RANKS = {'unlocked': 0, 'locked': 1, 'isolated': 2, 'disabled': 3, 'quarantined': 4}
BRIDGES = ('xenbr0', 'xenbr1')
VMS_MAX = 3
XSISOLATE = 'xsisolate/'

OWN = ['10.9.0.11', '10.9.0.11 10.9.0.12', '10.9.0.8/29', '10.9.0.66']
VALUES = {'mode': ['unlocked', 'locked', 'isolated', 'disabled'],
          'groups': ['', 'red', 'blue', 'red,blue', 'blue\nred'],
          'allow': ['', '10.9.0.99', '10.9.0.0/24', 'external', 'tcp/22@10.9.0.99', 'fd00:9::/64'],
          'ipv4': OWN, 'ipv6': ['fd00:9::11', 'fd00:9::/64']}
NAMES = ['mode', 'groups', 'allow', 'vif/0/mode', 'vif/0/groups', 'vif/0/allow', 'vif/0/ipv4',
         'vif/0/ipv6', 'vif/1/mode', 'vif/1/groups', 'vif/1/ipv4']
RUBBISH = ['junk', '10.9.0.300', '10.9.0.1/24', '\x01', ',,', 'red;blue', 'x' * 2000]
GUEST_NAMES = NAMES + ['groups-1', 'allow-1', 'allow-3', 'Mode', 'groups/red', 'vif', 'vif/0',
                       'vif/00/mode', 'vif/0/x', '']


def named(name: str) -> str:
    """Return the key's last word."""
    return name.split('/')[-1]


ENTRIES = st.sampled_from(NAMES).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(VALUES[named(name)])))
POLICIES = st.one_of(
    st.sampled_from([{'groups': 'red', 'vif/0/ipv4': '10.9.0.11'},
                     {'groups': 'red,blue', 'vif/0/ipv4': '10.9.0.11'},
                     {'mode': 'locked', 'vif/0/ipv4': '10.9.0.11'}, {'mode': 'unlocked'},
                     {'groups': 'red', 'allow': '10.9.0.99', 'vif/0/ipv4': '10.9.0.11',
                      'vif/1/groups': 'blue'}]),
    st.lists(ENTRIES, min_size=1, max_size=4).map(dict))
LOCKINGS = st.sampled_from([('unlocked', ()), ('locked', ('10.9.0.11',)),
                            ('locked', ('10.9.0.8/29',)), ('locked', ()), ('disabled', ())])
ANY = st.integers(0, 5)


class Outcome(NamedTuple):
    """What a hook made of a VIF; None: nobody can tell."""

    mode: str
    groups: FrozenSet[str] = frozenset()
    allow: Optional[FrozenSet[str]] = None
    addresses: Optional[FrozenSet[str]] = None
    conflict: bool = False          # quarantined over what another VIF has


class Settings(NamedTuple):
    """What the host's configuration says."""

    default: str = 'unlocked'
    roster: Optional[FrozenSet[str]] = None     # of group red


class Place:
    """A domain that is a VM, with its guest's ring."""

    def __init__(self, domain: Domain, guest: GuestConnection) -> None:
        self.domain = domain
        self.guest = guest
        self.plugged: Set[int] = set()


class Being:
    """A VM as XAPI knows it, and what the admin meant for each of its VIFs."""

    def __init__(self, uuid: str, vifs: Dict[int, VifRecord]) -> None:
        self.uuid = uuid
        self.vifs = vifs
        self.vm_data: Words = {}                            # of a VM that does not run
        self.sealed: Dict[int, Optional[Words]] = dict.fromkeys(vifs)
        self.past: List[Words] = []                         # all that was ever sealed
        self.here: Optional[Place] = None
        self.coming: Optional[Place] = None                 # the destination of a migration
        self.snapshot: Optional[Tuple[Words, Dict[int, VifRecord],
                                      Dict[int, Optional[Words]]]] = None

    def places(self) -> List[Place]:
        """Return the domains that are this VM now."""
        return [place for place in (self.here, self.coming) if place]


class GuestMachine(RuleBasedStateMachine):
    """Guests, an admin and the toolstack, one step at a time."""

    devids: Tuple[int, ...] = (0, 1)
    toolstack: ClassVar[Toolstack]
    sequences: ClassVar[int] = 0
    steps: ClassVar[int] = 0
    outcomes: ClassVar[Counter[str]]    # modes that hooks have set
    last_number: ClassVar[int] = 0      # domids and uuids are never used twice

    def __init__(self) -> None:
        super().__init__()
        type(self).sequences += 1
        self.beings: List[Being] = []
        self.settings = Settings()
        self.configure()

    # --- for the subclass ---

    def configure(self) -> None:
        """Let hooks find the settings."""
        raise NotImplementedError

    def cable(self, being: Being, place: Place, devid: int) -> None:
        """Make a VIF's devices."""

    def run_hook(self, being: Being, place: Place, devid: int, event: str) -> Outcome:
        """Run the hook for 'plug', 'refresh' or 'move'."""
        raise NotImplementedError

    def run_clear(self, being: Being, place: Place, devid: int) -> None:
        """Run the hook for a VIF that leaves, and take its devices away."""
        raise NotImplementedError

    # --- the law ---

    def hook(self, being: Being, place: Place, devid: int, event: str = 'refresh') -> None:
        """Run a hook and hold what came of it against what was sealed."""
        outcome = self.run_hook(being, place, devid, event)
        self.outcomes[outcome.mode] += 1
        sealed, vif = being.sealed[devid], being.vifs[devid]
        self.check_no_more(being, vif, sealed, outcome)
        is_carried = (SEAL in vif.other_config) == (sealed is not None)     # a clone's may not be
        if is_carried and relevant(self.stands(place), devid) == relevant(sealed or {}, devid):
            self.check_no_less(being, vif, sealed, outcome)

    def check_no_more(self, being: Being, vif: VifRecord, sealed: Optional[Words],
                      found: Outcome) -> None:
        """Fail if a VIF may do more than the admin sealed and XAPI allows."""
        if found.mode == 'quarantined':
            return
        told = (being.sealed, vif, self.settings, found)
        granted = seals.effective(sealed, vif.devid) if sealed else {}
        assert RANKS[found.mode] >= RANKS[self.mode_of(vif, granted)], told
        assert found.groups <= set(granted.get('groups', ())), told
        assert found.allow is None or found.allow <= set(granted.get('allow', ())), told
        assert self.is_admitted(being, granted), told
        for address in found.addresses or ():
            own = ipaddress.ip_network(address)
            if own.version == 6 and own.subnet_of(ipaddress.ip_network('fe80::/64')):
                continue
            assert is_inside(address, granted.get('ipv%d' % own.version,
                                                  fence(vif, own.version))), told
            assert vif.locking_mode != 'locked' or is_inside(address, fence(vif, own.version)), told

    def check_no_less(self, being: Being, vif: VifRecord, sealed: Optional[Words],
                      found: Outcome) -> None:
        """Fail if a policy that stands as it was sealed does not count."""
        granted = seals.effective(sealed, vif.devid) if sealed else {}
        fits = vif.locking_mode != 'locked' or all(
            is_inside(address, fence(vif, version)) for version in (4, 6)
            for address in granted.get('ipv%d' % version, ()))
        if fits and self.is_admitted(being, granted) and not found.conflict:
            assert found.mode == self.mode_of(vif, granted), (sealed, vif, self.settings, found)

    def mode_of(self, vif: VifRecord, granted: Any) -> str:
        """Return the mode that a policy comes to; the stricter one counts."""
        if not granted:
            mode = self.settings.default
        elif 'mode' in granted:
            mode = granted['mode']
        else:
            mode = 'isolated' if {'groups', 'allow'} & granted.keys() else 'locked'
        return max(mode, vif.locking_mode, key=RANKS.__getitem__)

    def is_admitted(self, being: Being, granted: Any) -> bool:
        """Tell whether the roster lets a VM into its groups."""
        return ('red' not in granted.get('groups', ()) or self.settings.roster is None
                or being.uuid in self.settings.roster)

    # --- who there is ---

    @initialize(policy=st.none() | POLICIES, locking=LOCKINGS, single=st.booleans())
    def begin(self, policy: Optional[Words], locking: Tuple[str, Tuple[str, ...]],
              single: bool) -> None:
        """Have a VM that runs, with a VIF or two."""
        self.devids = self.devids[:1] if single else self.devids
        being = self.add_being()
        for devid in self.devids:
            self.change_vif(being, devid, locking_mode=locking[0], ipv4_allowed=locking[1])
        if policy:
            being.vm_data = {XSISOLATE + name: value for name, value in policy.items()}
            self.seal_all(being, policy)
        self.start(being)

    def add_being(self) -> Being:
        """Add a VM that does not run yet."""
        type(self).last_number += 1
        number = self.last_number
        uuid = '%08x-0000-4000-8000-0000000000ff' % number
        being = Being(uuid, {devid: VifRecord(
            devid, '02:00:%02x:%02x:00:%02x' % (number >> 8, number & 255, devid), BRIDGES[0],
            '%08x-0000-4000-8001-0000000000%02x' % (number, devid), network_uuid(BRIDGES[0]))
            for devid in self.devids})
        self.beings.append(being)
        return being

    def pick(self, number: int, want: Callable[[Being], Any] = lambda being: True
             ) -> Optional[Being]:
        """Return one of the VMs that are as wanted."""
        found = [being for being in self.beings if want(being)]
        return found[number % len(found)] if found else None

    def running(self, number: int) -> Optional[Being]:
        """Return one of the VMs that run, and count the step."""
        type(self).steps += 1
        return self.pick(number, lambda being: being.here)

    def build(self, being: Being, uuid: str, vm_data: Words) -> Place:
        """Build a domain."""
        type(self).last_number += 1
        domain = Domain(self.last_number, uuid, 'vm')
        self.toolstack.create(domain, vm_data)
        return Place(domain, self.toolstack.store.introduce(domain.domid))

    def plug_all(self, being: Being, place: Place) -> None:
        """Plug all VIFs into a domain."""
        for devid in sorted(set(being.vifs) - place.plugged):
            self.toolstack.add_vif(place.domain, being.vifs[devid])
            self.cable(being, place, devid)
            place.plugged.add(devid)
            self.hook(being, place, devid, 'plug')

    def unplug_all(self, being: Being, place: Place) -> None:
        """Unplug all VIFs of a domain."""
        for devid in sorted(place.plugged):
            self.run_clear(being, place, devid)
            self.toolstack.remove_vif(place.domain, being.vifs[devid])
        place.plugged = set()

    def start(self, being: Being) -> None:
        """Start a VM with XAPI's vm-data."""
        being.here = self.build(being, being.uuid, being.vm_data)
        self.plug_all(being, being.here)

    def end(self, being: Being, place: Place) -> None:
        """End a domain."""
        self.unplug_all(being, place)
        place.guest.close()
        for vif in being.vifs.values():     # of all, for `destroy` removes all
            metadata.write(place.domain.uuid, vif)
        self.toolstack.destroy(place.domain, list(being.vifs.values()))

    def stop(self, being: Being) -> None:
        """Shut a VM down; XAPI keeps what its guest wrote."""
        if being.coming:
            self.end(being, being.coming)
            being.coming = None
        if being.here:
            being.vm_data = dict(self.toolstack.vm_data(being.here.domain))
            self.end(being, being.here)
            being.here = None

    def teardown(self) -> None:
        """Leave an empty host."""
        for being in self.beings:
            self.stop(being)

    def stands(self, place: Place) -> Words:
        """Return all that stands in a domain's vm-data/xsisolate, empty values included."""
        def walk(folder: str, prefix: str) -> None:
            for name in store.ls(folder):
                found[prefix + name] = store.read('%s/%s' % (folder, name))
                walk('%s/%s' % (folder, name), prefix + name + '/')
        store, found = self.toolstack.store, {}     # type: Any, Words
        root = home_of(place.domain) + '/vm-data/xsisolate'
        if store.get(root) is not None:
            walk(root, '')
        return found

    # --- the guest ---

    def by_guest(self, number: int, act: Callable[[GuestConnection], Any]) -> None:
        """Let a guest do something that may be forbidden."""
        being = self.running(number)
        if being and being.here:
            try:
                act(being.here.guest)
            except XenstoreError:
                pass

    @rule(number=ANY, name=st.sampled_from(GUEST_NAMES),
          value=st.sampled_from(sum(VALUES.values(), RUBBISH)))
    def guest_writes(self, number: int, name: str, value: str) -> None:
        """Write any key, with a value that may belong to another."""
        self.by_guest(number, lambda guest: guest.write(path_of(name), value))

    @rule(number=ANY, policy=POLICIES, afresh=st.booleans())
    def guest_writes_a_policy(self, number: int, policy: Words, afresh: bool) -> None:
        """Write a policy over the one that is there, or instead of it."""
        if afresh:
            self.by_guest(number, lambda guest: guest.rm('vm-data/xsisolate'))
        self.by_guest(number, lambda guest: [guest.write(path_of(name), value)
                                             for name, value in policy.items()])

    @rule(number=ANY, which=ANY)
    def guest_replays(self, number: int, which: int) -> None:
        """Bring back a policy that some admin has sealed at some time."""
        past = [words for being in self.beings for words in being.past]
        if past:
            self.guest_writes_a_policy(number, past[which % len(past)], True)

    @rule(number=ANY, path=st.sampled_from([
        'vm-data', 'vm-data/xsisolate', 'vm-data/xsisolate/groups', 'vm-data/xsisolate/vif',
        'vm-data/xsisolate/vif/0/ipv4', 'device/vif/0', 'device/vif/0/mac']))
    def guest_removes(self, number: int, path: str) -> None:
        """Remove what is its own."""
        self.by_guest(number, lambda guest: guest.rm(path))

    @rule(number=ANY, name=st.sampled_from(GUEST_NAMES), other=ANY,
          rights=st.sampled_from(['n', 'b', 'r', 'w']))
    def guest_shares(self, number: int, name: str, other: int, rights: str) -> None:
        """Let another guest write a node, and let that one try everybody's."""
        friend = self.running(other)
        if not friend or not friend.here:
            return
        domid = friend.here.domain.domid
        self.by_guest(number, lambda guest: guest.set_perms(
            path_of(name).rstrip('/'), 'n%d' % guest.domid, '%s%d' % (rights, domid)))
        for being in self.beings:
            for place in being.places():
                self.by_guest(other, lambda guest: guest.write(
                    '%s/%s' % (home_of(place.domain), path_of('groups')), 'blue'))

    @rule(number=ANY, folder=st.sampled_from(GUEST_FOLDERS), mac=st.sampled_from(
        ['02:00:00:01:00:00', '02:00:00:02:00:00']))
    def guest_writes_elsewhere(self, number: int, folder: str, mac: str) -> None:
        """Claim to be another, in its own folders and in /vm."""
        def act(guest: GuestConnection) -> None:
            guest.write(folder + '/vif/0/mac', mac)
            guest.write(folder + '/final-uuid', self.beings[0].uuid)
            guest.write('/vm/%s/final-uuid' % self.beings[-1].uuid, self.beings[0].uuid)
        self.by_guest(number, act)

    # --- the admin ---

    def change_vif(self, being: Being, devid: int, **fields: Any) -> None:
        """Change a VIF's record, and its metadata wherever it is plugged."""
        being.vifs[devid] = being.vifs[devid]._replace(**fields)
        for place in being.places():
            if devid in place.plugged:
                self.toolstack.update_vif(place.domain, being.vifs[devid])

    def write_seal(self, being: Being, devid: int, words: Words) -> None:
        """Seal a policy for one VIF: from now on this is what the admin means."""
        vif = being.vifs[devid]
        granted = seals.effective(words, devid)
        other_config = {SEAL: seals.seal(being.uuid, vif, words)} if granted else {}
        self.change_vif(being, devid, other_config=other_config)
        being.sealed[devid] = words if granted else None
        being.past.append(words)

    def seal_all(self, being: Being, words: Words) -> None:
        """Seal a policy for all of a VM's VIFs."""
        for devid in being.vifs:
            self.write_seal(being, devid, words)

    def write_vm_data(self, being: Being, words: Words) -> None:
        """VM.set_xenstore_data: from now on the folder is Dom0's, till the next start."""
        being.vm_data = {XSISOLATE + name: value for name, value in words.items()}
        for place in being.places()[:1]:
            self.toolstack.set_vm_data(place.domain, being.vm_data)

    @rule(number=ANY, policy=POLICIES, seal_first=st.booleans(), look=st.booleans())
    def admin_sets(self, number: int, policy: Words, seal_first: bool, look: bool) -> None:
        """Two writes, in either order, perhaps with a hook between."""
        type(self).steps += 1
        being = self.pick(number)
        assert being
        writes: List[Callable[[Being, Words], None]] = [self.write_vm_data, self.seal_all]
        for write in writes[::-1] if seal_first else writes:
            write(being, policy)
            if look:
                self.look(being)

    @rule(number=ANY)
    def admin_seals_what_stands_there(self, number: int) -> None:
        """`xsisolate seal`: whatever the guest has written is meant from now on."""
        being = self.running(number)
        if not being or not being.here:
            return
        words = self.stands(being.here)
        for devid in being.here.plugged:
            if is_policy(relevant(words, devid)):
                self.write_seal(being, devid, words)
            if devid in being.here.plugged:
                self.hook(being, being.here, devid)

    @rule(number=ANY, seal_first=st.booleans())
    def admin_clears(self, number: int, seal_first: bool) -> None:
        """Take the policy away, and the seal with it."""
        self.admin_sets(number, {}, seal_first, True)

    @rule(number=ANY, locking=LOCKINGS, devid=ANY)
    def admin_locks(self, number: int, locking: Tuple[str, Tuple[str, ...]], devid: int) -> None:
        """VIF.set_locking_mode: xenopsd runs the hook."""
        type(self).steps += 1
        being = self.pick(number)
        assert being
        self.change_vif(being, devid % len(self.devids), locking_mode=locking[0],
                        ipv4_allowed=locking[1])
        self.look(being)

    @rule(default=st.sampled_from(['unlocked', 'locked', 'isolated', 'disabled']),
          rostered=st.none() | st.integers(0, 2), number=ANY)
    def admin_configures(self, default: str, rostered: Optional[int], number: int) -> None:
        """Change the network's default and the roster of group red."""
        roster = None if rostered is None else frozenset(
            being.uuid for being in self.beings[:rostered])
        self.settings = Settings(default, roster)
        self.configure()
        being = self.running(number)
        if being:
            self.look(being)

    # --- the toolstack ---

    def look(self, being: Being) -> None:
        """Run the hooks of all VIFs that are plugged, at both ends of a migration."""
        for place in being.places():
            for devid in sorted(place.plugged):
                self.hook(being, place, devid)

    @rule(number=ANY)
    def refresh(self, number: int) -> None:
        """Run the hooks again."""
        being = self.running(number)
        if being:
            self.look(being)

    @rule(number=ANY)
    def replug(self, number: int) -> None:
        """Unplug the VIFs and plug them."""
        being = self.running(number)
        if being and being.here and not being.coming:
            self.unplug_all(being, being.here)
            self.plug_all(being, being.here)

    @rule(number=ANY)
    def reboot(self, number: int) -> None:
        """What the guest wrote is in VM.xenstore_data and comes back."""
        being = self.running(number)
        if being:
            self.stop(being)
            self.start(being)

    @precondition(lambda self: len(self.beings) < VMS_MAX)
    @rule(number=ANY, keep_macs=st.booleans())
    def clone(self, number: int, keep_macs: bool) -> None:
        """Copy a VM with vm-data and VIF.other_config, and start it."""
        parent = self.running(number)
        if parent and parent.here:
            child = self.add_being()
            child.vm_data = dict(self.toolstack.vm_data(parent.here.domain))
            for devid, vif in parent.vifs.items():
                mac = vif.mac if keep_macs else child.vifs[devid].mac
                child.vifs[devid] = vif._replace(mac=mac, uuid=child.vifs[devid].uuid)
            self.start(child)

    @rule(number=ANY)
    def take_snapshot(self, number: int) -> None:
        """Keep vm-data and VIFs as they are now, with what the admin meant by them."""
        being = self.running(number)
        if being and being.here:
            being.snapshot = (dict(self.toolstack.vm_data(being.here.domain)), dict(being.vifs),
                              dict(being.sealed))

    @rule(number=ANY)
    def revert(self, number: int) -> None:
        """Go back to a snapshot: vm-data, seals and what was meant then."""
        type(self).steps += 1
        being = self.pick(number, lambda being: being.snapshot)
        if being and being.snapshot:
            self.stop(being)
            vm_data, vifs, sealed = being.snapshot
            being.vm_data, being.vifs, being.sealed = dict(vm_data), dict(vifs), dict(sealed)
            self.start(being)

    @rule(number=ANY)
    def begin_migration(self, number: int) -> None:
        """Plug the VM a second time on this host, under a temporary uuid."""
        being = self.running(number)
        if being and being.here and not being.coming:
            data = {name: value.replace(being.uuid, temporary_uuid(being.uuid)) for name, value in
                    self.toolstack.vm_data(being.here.domain).items()}
            being.coming = self.build(being, temporary_uuid(being.uuid), data)
            self.toolstack.store.write('/vm/%s/final-uuid' % being.coming.domain.uuid, being.uuid)
            self.plug_all(being, being.coming)

    @precondition(lambda self: any(being.coming for being in self.beings))
    @rule(number=ANY)
    def finish_migration(self, number: int) -> None:
        """Rename the old domain out of the way, end it, and let the new one have the uuid."""
        type(self).steps += 1
        being = self.pick(number, lambda being: being.coming)
        if not being or not being.here or not being.coming:
            return
        vifs = list(being.vifs.values())
        leaving, coming = being.here, being.coming
        leaving.domain = self.toolstack.rename(leaving.domain, departing_uuid(being.uuid), vifs)
        self.toolstack.store.write('/vm/%s/origin-uuid' % leaving.domain.uuid, being.uuid)
        for devid in sorted(leaving.plugged):
            self.hook(being, leaving, devid)
        self.end(being, leaving)
        coming.domain = self.toolstack.rename(coming.domain, being.uuid, vifs)
        self.toolstack.store.rm('/vm/%s/final-uuid' % being.uuid)
        being.here, being.coming = coming, None
        self.look(being)

    @rule(number=ANY, bridge=st.sampled_from(BRIDGES))
    def move(self, number: int, bridge: str) -> None:
        """VIF.move of the first VIF."""
        being = self.running(number)
        if being and being.here and not being.coming and 0 in being.here.plugged:
            self.change_vif(being, 0, bridge=bridge, network_uuid=network_uuid(bridge))
            self.hook(being, being.here, 0, 'move')


def path_of(name: str) -> str:
    """Return a policy key's path as a guest writes it."""
    return 'vm-data/xsisolate/' + name


def network_uuid(bridge: str) -> str:
    """Return the uuid of a bridge's network."""
    return '0000000%d-0000-4000-8002-000000000000' % BRIDGES.index(bridge)


def relevant(words: Words, devid: int) -> Words:
    """Return what of vm-data concerns a VIF, folders left out."""
    own = 'vif/%d/' % devid
    return {name: value for name, value in words.items()
            if name.startswith(own) or name != 'vif' and not name.startswith('vif/')}


def is_policy(words: Words) -> bool:
    """Tell whether words are such as an admin would seal: known names and values."""
    return bool(words) and all(value in VALUES.get(named(name), ()) for name, value in words.items()
                               if name in NAMES) and words.keys() <= set(NAMES)


def fence(vif: VifRecord, version: int) -> List[str]:
    """Return XAPI's addresses."""
    return list(vif.ipv4_allowed if version == 4 else vif.ipv6_allowed)


def is_inside(address: str, networks: List[str]) -> bool:
    """Tell whether an address or network is inside one of several."""
    own = ipaddress.ip_network(address)
    return any(own.version == other.version and own.subnet_of(other)    # type: ignore[arg-type]
               for other in map(ipaddress.ip_network, networks))
