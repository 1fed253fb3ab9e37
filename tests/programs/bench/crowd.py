"""VIFs by the hundred, without guests: netdevs, xenstore, metadata; and members elsewhere."""
import json
import os
import uuid as uuids
from typing import Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

from sandbox import metadata
from sandbox.hooks import Call, Hooks
from sandbox.metadata import VifRecord
from sandbox.process import ip
from sandbox.dom0 import SEAL, Sandbox
from sandbox.seals import seal
from sandbox.toolstack import Domain, home_of
from sandbox.vm import policy_keys

MEMBERS_FILE = '/run/xsisolate/groups/%s.json'


class Resident(NamedTuple):
    """A VIF that nobody lives behind."""

    domain: Domain
    vif: VifRecord

    @property
    def device(self) -> str:
        """The netdev."""
        return 'vif%d.%d' % (self.domain.domid, self.vif.devid)


def addresses_of(number: int, count: int) -> Tuple[List[str], List[str]]:
    """Return `count` IPv4 and `count` IPv6 addresses of the numberth VIF."""
    return (['10.%d.%d.%d' % (16 + number // 200, number % 200, 1 + at) for at in range(count)],
            ['fd00:9::%x:%x' % (number, 1 + at) for at in range(count)])


def isolated(number: int, count: int = 1, groups: str = 'red',
             **more: str) -> Dict[str, str]:
    """Return a policy with that many own addresses of either family."""
    ipv4, ipv6 = addresses_of(number, count)
    policy = dict({'groups': groups}, **more)
    for key, texts in (('vif/0/ipv4', ipv4), ('vif/0/ipv6', ipv6)):
        for piece in range(0, len(texts), 40):      # a value has room for so many
            policy[key + ('-%d' % (piece // 40) if piece else '')] = ' '.join(
                texts[piece:piece + 40])
    return policy


class Crowd:
    """Makes residents on a bridge of a sandbox."""

    def __init__(self, dom0: Sandbox, bridge: str) -> None:
        self.dom0, self.bridge = dom0, bridge
        self._last = 1000       # far from the domains of VMs that live
        self.residents: List[Resident] = []

    def add(self, policies: Sequence[Mapping[str, str]],
            stock_script: str = '') -> List[Resident]:
        """Make a VIF for each policy, not plugged yet; XAPI locks it to the same addresses.

        With a `stock_script` XAPI's locking is all that there is.
        """
        made = [self._resident(policy, stock_script) for policy in policies]
        ip(['link add %s type veth peer name far%d' % (one.device, one.domain.domid)
            for one in made])
        self.residents += made
        return made

    def _resident(self, policy: Mapping[str, str], stock_script: str) -> Resident:
        self._last += 1
        domain = Domain(self._last, str(uuids.uuid4()), 'resident%d' % self._last)
        own = {version: tuple(address for key, text in policy.items()
                              if key.startswith('vif/0/ipv%d' % version)
                              for address in text.split()) for version in (4, 6)}
        vif = VifRecord(0, '02:00:00:01:%02x:%02x' % divmod(self._last, 256), self.bridge,
                        str(uuids.uuid4()), self.dom0.network_uuid(self.bridge),
                        locking_mode='locked', ipv4_allowed=own[4], ipv6_allowed=own[6])
        if stock_script:
            policy, vif = {}, vif._replace(private={'setup-vif-rules': stock_script})
        else:
            vif = vif._replace(other_config={SEAL: seal(domain.uuid, vif, policy)})
        self.dom0.toolstack.create(domain, policy_keys(policy))
        self.dom0.toolstack.add_vif(domain, vif)
        return Resident(domain, vif)

    def change(self, resident: Resident, policy: Mapping[str, str]) -> None:
        """Give a resident another policy, with its seal."""
        vif = resident.vif._replace(other_config={
            SEAL: seal(resident.domain.uuid, resident.vif, policy)})
        self.dom0.toolstack.set_vm_data(resident.domain, policy_keys(policy))
        self.dom0.toolstack.update_vif(resident.domain, vif)

    def attach(self, residents: Iterable[Resident]) -> None:
        """Put residents on the bridge in one go, without a hook."""
        words: List[str] = []
        for one in residents:
            words += ['--', 'add-port', self.bridge, one.device]
        self.dom0.ovs.vsctl('--timeout=120', *words[1:])

    def remove(self, residents: Iterable[Resident]) -> None:
        """Let residents vanish, their ports with them."""
        for one in list(residents):
            self.dom0.ovs.vsctl('--if-exists', 'del-port', one.device)
            ip(['link del ' + one.device])
            self._forget(one)
            self.residents.remove(one)

    def _forget(self, one: Resident) -> None:
        """Remove a domain that xenstored was never told of."""
        self.dom0.toolstack.remove_vif(one.domain, one.vif)
        metadata.remove(one.domain.uuid, [one.vif.devid])
        for path in (home_of(one.domain), '/vm/' + one.domain.uuid, '/xapi/' + one.domain.uuid):
            self.dom0.store.rm(path)


def plug_call(hooks: Hooks, one: Resident) -> Call:
    """Return udev's call for a VIF that goes online."""
    return hooks.udev_vif('online', one.domain.domid, 0)


def unplug_call(hooks: Hooks, one: Resident) -> Call:
    """Return udev's call for a VIF that goes."""
    return hooks.udev_vif('remove', one.domain.domid, 0)


def refresh_call(hooks: Hooks, one: Resident) -> Call:
    """Return xenopsd's call when the locking mode may have changed."""
    return hooks.locking_changed(one.domain, one.vif)[0]


def write_members(dom0: Sandbox, bridge: str, group: str, count: int) -> None:
    """Write a group's members on other hosts, with an address of either family each."""
    path = MEMBERS_FILE % group
    os.makedirs(os.path.dirname(path), exist_ok=True)
    members = [{'network': dom0.network_uuid(bridge), 'mac': '02:00:01:%02x:%02x:%02x' % (
        number >> 16, number >> 8 & 255, number & 255), 'addresses': [
            '10.%d.%d.%d' % (100 + number // 40000, number // 200 % 200, 1 + number % 200),
            'fd00:9:1::%x' % (number + 1)]} for number in range(count)]
    with open(path + '.tmp', 'w') as file:
        json.dump({'version': 1, 'members': members}, file)
    os.rename(path + '.tmp', path)
