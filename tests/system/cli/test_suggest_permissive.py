"""Generated policies and traffic, first permissive: what would be refused is suggested, and passes.

As an admin does: everything is permissive, the record says what policies lack, that is written, and
all is enforced. Then the same traffic goes once more.
"""
import os
from random import Random
from typing import Any, Callable, Dict, List, Sequence, Tuple

import pytest
from suite import EXPLORE, SEED

from support.command import xsisolate
from support.packets import frames as f
from support.refusing_town import CONFIG, Party, Town
from support.vm_events import refresh
from xsisolate.dom0.run_files.refused import FILE

pytestmark = [pytest.mark.any_python, pytest.mark.host(sealed=True), pytest.mark.random]
ROUNDS = 4
UNREACHABLE = ('icmp/3', 'icmp6/1')      # kernels say so once a second at most
VIFS = ('red', 'blue', 'web1', 'web2', 'web3')
SPEAKERS = (*VIFS, 'locked', 'un')
ENTRIES = ('', 'out:', 'in:')
SAID = ('', 'tcp/443@', 'tcp/22@', 'tcp@', 'udp/53@', 'sctp@')
Make = Callable[[Party, Party], Any]
KINDS: Sequence[Make] = (
    lambda one, other: f.tcp(one, other, 40000, 443),
    lambda one, other: f.tcp(one, other, 40001, 22),
    lambda one, other: f.tcp6(one, other, 40000, 443),
    lambda one, other: f.udp(one, other, 40000, 53),
    lambda one, other: f.udp6(one, other, 40000, 123), f.ping, f.ping6,
    lambda one, other: f.sctp(one, other, 40000, 3868))
Traffic = Sequence[Tuple[str, str, Make]]


def draw_policy(random: Random, base: Dict[str, str], addresses: Sequence[str]) -> Dict[str, str]:
    """Return a policy that admits some of the others, in one direction or both."""
    allow = {random.choice(ENTRIES) + random.choice(SAID) + random.choice(addresses)
             for _ in range(random.randrange(4))}
    groups = random.sample(['red', 'blue', 'web'], random.randrange(1, 3))
    return dict(base, groups=' '.join(groups), allow=' '.join(sorted(allow)))


def send(town: Town, traffic: Traffic) -> None:
    """Send each kind once; guests' kernels answer what arrives."""
    for sender, target, make in traffic:
        town.vms[sender].send(bytes(make(town.party(sender), town.party(target))))
    for name in SPEAKERS:
        town.vms[name].call('ping', [], 0, 0, '')
    town.host.ovs.settle()


def refused(town: Town) -> List[Any]:
    """Return what was refused of the traffic, and not of what kernels say when they like."""
    known = {getattr(town.party(name), field) for name in town.vms for field in ('ip', 'ip6')}
    return [row for row in xsisolate('refused', '--json').json['refused']
            if row['source']['address'] in known and row['target']['address'] in known
            and row['service'] not in UNREACHABLE]


def write(town: Town, policies: Dict[str, Dict[str, str]]) -> None:
    for name, policy in policies.items():
        town.vms[name].set_policy(policy)
        refresh(town.vms[name])


def forget(town: Town) -> None:
    """Have the switch forget the record, and who has begun what."""
    town.forget()
    town.host.ovs.appctl('dpctl/flush-conntrack')
    assert not os.path.exists(FILE)


@pytest.mark.parametrize('words', [(), ('--directions',)])
@pytest.mark.parametrize('number', range(2 * EXPLORE))
def test_what_would_be_refused_is_admitted_when_it_is_suggested_and_enforced(
        town: Town, words: Sequence[str], number: int) -> None:
    random = Random('%s %d' % (SEED, number))
    addresses = [getattr(town.party(name), field) for name in SPEAKERS for field in ('ip', 'ip6')]
    policies = {name: draw_policy(random, town.policies[name], addresses) for name in VIFS}
    traffic = [(*random.sample(SPEAKERS, 2), random.choice(KINDS)) for _ in range(25)]
    town.host.configure(CONFIG + '    permissive: true\n')
    try:
        write(town, policies)
        forget(town)
        send(town, traffic)
        assert all(row['passed'] for row in refused(town))
        for _ in range(ROUNDS):
            found = xsisolate('suggest', *words, '--json').json['suggestions']
            for one in found:
                policies[one['name']] = dict(policies[one['name']], allow=' '.join(one['allow']))
            if not found:
                break
            write(town, {one['name']: policies[one['name']] for one in found})
        assert not found
        town.host.configure(CONFIG)
        xsisolate('sync')
        forget(town)
        send(town, traffic)
        left = [row for row in refused(town) if not is_never_suggested(row)]
        shown = [(row['source']['name'], row['target']['name'], row['service'], row['answer'],
                  row['reason'], row['because']) for row in left]
        assert not left, (SEED, shown, policies)
    finally:
        town.host.configure(CONFIG)
        town.restore()


def is_never_suggested(row: Any) -> bool:
    """Tell whether it is taken for an answer: only of TCP is it known who has begun."""
    return row['reason'] == 'answer to nothing asked' and not row['service'].startswith('tcp/')
