"""May SRC reach DST, where one of them, or both, run on other hosts of the pool?

Each end's own host is asked, here or by its XAPI plugin, about its end and the other's address.
What they say together is the answer: one host lets the packet out, the other lets it in.
"""
import json
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from xsisolate.admin.plugin_protocol import EXPLAIN, PLUGIN
from xsisolate.admin.vm_lookup import find_target
from xsisolate.diagnostics.explain import KNOWN, LEAVES, REACHES, STOPPED
from xsisolate.diagnostics.inventory import Inventory
from xsisolate.diagnostics.route import Asked
from xsisolate.diagnostics.vm_lookup import (NotOnHost, find_vm, is_address, own_address,
                                             parse_single)
from xsisolate.dom0.xapi.host_uuid import read_host_uuid
from xsisolate.dom0.xapi.session import Xapi
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import HostError, PolicyError, UsageError
from xsisolate.policy.address import format_prefix, quoted
from xsisolate.policy.model import Prefix
from xsisolate.policy.service import VERSIONS
from xsisolate.policy.xapi_records import XapiVif, XapiVm, judge_vif

Answer = Dict[str, Any]
HERE = ''               # in the place of a host


class Resident(NamedTuple):
    """An end of a question, and the host to ask about it."""

    text: str                       # as its host is asked
    host: Optional[str]             # HERE, another host's reference; None: no host has it
    addresses: Tuple[Prefix, ...] = ()
    networks: Tuple[str, ...] = ()  # uuids


class Across:
    """Asks the hosts of a pool."""

    def __init__(self, xapi: Xapi, inventory: Inventory, store: Xenstore,
                 ask_here: Callable[[Asked], Answer]) -> None:
        self._xapi, self._inventory, self._store = xapi, inventory, store
        self._ask_here = ask_here
        self._hosts: Dict[str, Dict[str, Any]] = xapi.call('host.get_all_records')

    def explain(self, asked: Asked) -> Answer:
        """Return what the hosts of both ends say."""
        ends = self._find(asked.source, asked.source_address), self._find(
            asked.target, asked.target_address)
        version = asked.version or VERSIONS.get(asked.service.partition('/')[0], 0) or next((
            number for number in (4, 6) if all(_of(end, number) for end in ends)), 4)
        source, target = (self._speak(end, version) for end in ends)
        asked = asked._replace(version=version, source_address=source, target_address=target)
        hosts = [end.host for end in ends if end.host is not None]
        answers = [self._ask(host, asked._replace(
            source=ends[0].text if ends[0].host == host else source,
            target=ends[1].text if ends[1].host == host else target))
            for host in sorted(set(hosts), key=hosts.index)]
        return answers[0] if len(answers) == 1 else combine(
            answers, bool(set(ends[0].networks) & set(ends[1].networks)))

    def _find(self, text: str, given: str) -> Resident:
        if is_address(text):
            return self._find_address(text)
        try:
            views = [view for view in find_vm(self._inventory, text) if view.vif.networks]
        except NotOnHost as error:
            return self._find_in_pool(text, given, error)
        addresses = tuple(address for view in views[:1] for version in (4, 6)
                          for address in own_address(view, version, self._store))
        return Resident(text, HERE, _given(given) or addresses, tuple(
            one.network_uuid for view in views for one in view.vif.networks))

    def _find_address(self, text: str) -> Resident:
        owners = [view for view in self._inventory.vifs if any(
            format_prefix(own) == text for own in view.vif.policy.addresses)]
        return Resident(text, HERE if owners else None, _given(text), tuple(
            one.network_uuid for view in owners for one in view.vif.networks))

    def _find_in_pool(self, text: str, given: str, cause: NotOnHost) -> Resident:
        """Return a VM of another host, as `set` finds it."""
        try:
            target = find_target(self._xapi, text)
        except UsageError as error:
            raise UsageError('%s; in the pool: %s' % (cause, error)) from None
        vm = target.vm
        if not target.vifs:
            raise UsageError('VM %s (%s) has no VIF' % (quoted(vm.name), vm.uuid))
        if not vm.host:
            raise UsageError('VM %s (%s) runs on no host: it is %s' % (
                quoted(vm.name), vm.uuid, vm.power_state))
        if str(self._hosts[vm.host]['uuid']).lower() == read_host_uuid().lower():
            raise cause
        vif = next((vif for vif in target.vifs if vif.attached), target.vifs[0])
        return Resident('%s/%s' % (vm.uuid, vif.devid), vm.host,
                        _given(given) or _addresses(vm, vif), (vif.network,))

    def _speak(self, end: Resident, version: int) -> str:
        found = _of(end, version)
        if not found:
            raise UsageError('no policy says which IPv%d address %s has: name it '
                             '(--source-address, --target-address)' % (version, quoted(end.text)))
        return format_prefix(found[0])

    def _ask(self, host: str, asked: Asked) -> Answer:
        """Return what a host says; of an end that is only an address there is nothing to add."""
        if is_address(asked.source):
            asked = asked._replace(source_address='')
        if is_address(asked.target):
            asked = asked._replace(target_address='')
        if host == HERE:
            return self._ask_here(asked)
        arguments = {'source': asked.source, 'destination': asked.target, 'service': asked.service,
                     'version': str(asked.version), 'source_address': asked.source_address,
                     'target_address': asked.target_address}
        reply = self._xapi.call('host.call_plugin', host, PLUGIN, EXPLAIN, {
            name: value for name, value in arguments.items() if value})
        try:
            answer: Answer = json.loads(reply)
            if answer['verdict'] not in KNOWN:
                raise ValueError('unknown verdict %.80r' % answer['verdict'])
        except (ValueError, KeyError, TypeError) as error:
            raise HostError('host %s: the answer of its plugin cannot be read: %s'
                            % (host, error)) from error
        # by its name in the pool, which is not the hostname on every host
        return dict(answer, host=str(self._hosts[host]['name_label']), asked=True)


def _of(end: Resident, version: int) -> List[Prefix]:
    return [address for address in end.addresses if address.version == version]


def _given(text: str) -> Tuple[Prefix, ...]:
    return (parse_single(text),) if text else ()


def _addresses(vm: XapiVm, vif: XapiVif) -> Tuple[Prefix, ...]:
    """Return the single addresses of a VIF's policy, the lowest first."""
    _, policy, _ = judge_vif(vm, vif)
    try:
        locking = vif.locking
    except PolicyError:
        return ()
    own = [locking.ipv4 if policy is None or policy.ipv4 is None else policy.ipv4,
           locking.ipv6 if policy is None or policy.ipv6 is None else policy.ipv6]
    return tuple(prefix for prefixes in own for prefix in sorted(prefixes)
                 if prefix.length in (32, 128))


def combine(answers: List[Answer], one_network: bool) -> Answer:
    """Return what the sender's host and the receiver's say together."""
    first, last = answers
    stopped = next((answer for answer in answers if answer['verdict'] == STOPPED), None)
    verdict = STOPPED if stopped else (
        REACHES if one_network and last['verdict'] == REACHES else LEAVES)
    return {'source': first['source'], 'target': last['target'], 'service': first['service'],
            'verdict': verdict, 'reaches': KNOWN[verdict], 'arrives': False,
            'towards': first['towards'] if verdict == LEAVES else None,
            'host': stopped['host'] if stopped else None,
            'asked': bool(stopped and stopped['asked']),
            'stopped_by': stopped['stopped_by'] if stopped else None,
            'would_be_stopped_by': None if stopped else next(filter(None, (
                answer.get('would_be_stopped_by') for answer in answers)), None),
            'answered': all(answer['answered'] for answer in answers),
            'differs': any(answer['differs'] for answer in answers),
            'notes': [], 'answers': answers}
