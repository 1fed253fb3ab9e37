"""What it costs a host to follow a large pool: `python -m bench.following`, no root, one process.

    bench.following --vms 5000 --groups 200 --hosts 64

Records have as many fields as XAPI's, most of which nobody reads. A change is a VM that joins
another group, or one that migrates: an event of the VM and one of its VIF. Times are of this
process's CPU; what the kernel does for the socket is left out.
"""
import argparse
import json
import os
import resource
import tempfile
import time
import xmlrpc.client
from statistics import median
from typing import Any, Dict, List, Tuple

from xsisolate.dom0.run_files.group_members import write_changed, write_members
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.member_index import MemberIndex
from xsisolate.policy.model import Config, VifPolicy
from xsisolate.policy.pool_members import find_members
from xsisolate.policy.seal import make_seal
from xsisolate.policy.vmdata_writer import replace_policy
from xsisolate.policy.xapi_records import NOBODY, identify, make_vif, make_vm
from xsisolate.pool.view import PoolView

OTHER_FIELDS = {'vm': 130, 'vif': 20}       # as many as XAPI's records have beside those we read
NETWORK = {'uuid': 'ffe24553-2b0d-5aad-bae5-38fc1b86fa68', 'bridge': 'xapi3',
           'default_locking_mode': 'unlocked', 'name_label': 'Tenants'}
CHANGES = 200
Event = Dict[str, Any]


def fill(kind: str, **fields: Any) -> Dict[str, Any]:
    """Return a record as large as XAPI's."""
    values: List[Any] = ['OpaqueRef:0d9b3f4e-8a4f-2c61-1c5b-000000000001', {'key': 'value'}, True,
                         'some text', []]
    return dict({'field_%d' % at: values[at % len(values)] for at in range(OTHER_FIELDS[kind])},
                **fields)


def events_of(number: int, host: int, group: int) -> List[Event]:
    """Return the events of a VM and its VIF."""
    address = '10.%d.%d.%d' % (number >> 16, number >> 8 & 255, number & 255)
    policy = VifPolicy(groups=frozenset(('group-%d' % group,)),
                       ipv4=frozenset((parse_prefix(address),)))
    vm = fill('vm', uuid='0d9b3f4e-8a4f-2c61-1c5b-%012d' % number, name_label='vm-%d' % number,
              power_state='Running', resident_on='host-%d' % host,
              scheduled_to_be_resident_on=NOBODY, is_a_template=False, is_a_snapshot=False,
              is_control_domain=False, xenstore_data=replace_policy({}, {'0': policy}))
    vif = fill('vif', VM='vm-%d' % number, network='network', device='0',
               MAC='02:00:00:%02x:%02x:%02x' % (number >> 16, number >> 8 & 255, number & 255),
               locking_mode='network_default', ipv4_allowed=[], ipv6_allowed=[],
               currently_attached=True, other_config={})
    seal = make_seal(identify(make_vm('', vm), make_vif('', vif, NETWORK)), policy)
    vif['other_config'] = {'xsisolate-seal': seal}
    return [event('vm', 'vm-%d' % number, vm), event('vif', 'vif-%d' % number, vif)]


def event(kind: str, ref: str, snapshot: Any) -> Event:
    """Return an event as XAPI tells it."""
    return {'class': kind, 'ref': ref, 'operation': 'mod', 'id': '1', 'timestamp': '0.',
            'snapshot': snapshot}


def texts(events: List[Event]) -> Tuple[bytes, bytes]:
    """Return an answer of event.from in XML and in JSON."""
    value = {'events': events, 'token': '1', 'valid_ref_counts': {}}
    return (xmlrpc.client.dumps(({'Status': 'Success', 'Value': value},),
                                methodresponse=True).encode(),
            json.dumps({'jsonrpc': '2.0', 'id': 1, 'result': value}).encode())


class Follower:
    """What the daemon's child does with answers, and what each part takes of the CPU."""

    def __init__(self) -> None:
        self.view = PoolView()
        self.index = MemberIndex(Config(), 'host-0', {})
        self.spent: Dict[str, List[float]] = {}

    def take(self, answers: Tuple[bytes, bytes], whole: bool) -> None:
        """Take in an answer."""
        xml, text = answers
        self._time('parse XML', lambda: xmlrpc.client.loads(xml))
        found = self._time('parse JSON', lambda: json.loads(text.decode('utf-8')))
        self._time('take events', lambda: self.view.take(found['result']['events']))
        settled = self._time('find members', lambda: self._find(whole))
        self._time('write files', lambda: (write_members if whole else write_changed)(settled))

    def _find(self, whole: bool) -> Any:
        for ref, place in self.view.all_places() if whole else self.view.touched():
            self.index.put(ref, place)
        return self.index.settle()

    def _time(self, what: str, work: Any) -> Any:
        began = time.process_time()
        result = work()
        self.spent.setdefault(what, []).append(time.process_time() - began)
        return result


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    for name, default, text in (('vms', 5000, 'VMs'), ('groups', 200, 'isolation groups'),
                                ('hosts', 64, 'hosts')):
        parser.add_argument('--' + name, type=int, default=default, metavar='N',
                            help='how many %s (default: %d)' % (text, default))
    size = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='xsisolate-following-') as root:
        os.environ['XSISOLATE_ROOT'] = root
        measure(size.vms, size.groups, size.hosts)
    return 0


def measure(vms: int, groups: int, hosts: int) -> None:
    """Print what a snapshot and changes take."""
    snapshot = [event('network', 'network', NETWORK)]
    for number in range(vms):
        snapshot += events_of(number, number % hosts, number % groups)
    follower, answers = Follower(), texts(snapshot)
    follower.take(answers, True)
    say('the first snapshot', answers, follower.spent, 1.0, 's')
    follower.spent.clear()
    changes = []
    for at in range(CHANGES):
        number = at * 37 % vms
        changes.append(texts(events_of(number, (number + at * (at % 2)) % hosts,
                                       (number + 1 - at % 2) % groups)))
        follower.take(changes[-1], False)
    middle = sorted(changes, key=lambda change: len(change[0]))[len(changes) // 2]
    say('one change of %d' % CHANGES, middle, follower.spent, 1000.0, 'ms')
    began = time.process_time()
    find_members(follower.view.places(), Config(), 'host-0', {})
    print('all memberships anew: %.0f ms' % ((time.process_time() - began) * 1000))
    print('memory, with the answers in both languages: %d MiB'
          % (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def say(what: str, answers: Tuple[bytes, bytes], spent: Dict[str, List[float]], factor: float,
        unit: str) -> None:
    """Print the figures of one kind of answer."""
    print('%s: %d bytes in XML, %d in JSON' % (what, len(answers[0]), len(answers[1])))
    for part, seconds in spent.items():
        print('  %-14s %8.2f %s' % (part, median(seconds) * factor, unit))


if __name__ == '__main__':
    raise SystemExit(main())
