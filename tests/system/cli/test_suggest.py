"""`xsisolate suggest`: what it says is written, and the same frames are refused no more."""
import shlex
from typing import Any, Dict, List, Sequence

import pytest

from support.command import USAGE, xsisolate
from support.packets import frames as f
from support.refusing_town import CONFIG, Town
from support.vm_events import refresh

pytestmark = pytest.mark.any_python
ROUNDS = 3      # an address is resolved before it is spoken to, and the sender is asked first


def traffic(town: Town) -> None:
    """Say in both families what policies refuse: on egress, on ingress, and by both."""
    w = {name: town.party(name) for name in town.vms}
    town.send('red', f.tcp(w['red'], w['blue'], 40000, 5432), f.udp6(w['red'], w['blue'], 4000, 53),
              f.ping(w['red'], w['un']), f.sctp(w['red'], w['un'], 40000, 3868),
              f.who_has(w['red'], w['un']))
    town.send('blue', f.tcp(w['blue'], w['red'], 5432, 40000, 'SA'))
    town.send('un', f.tcp(w['un'], w['red'], 40000, 22), f.tcp6(w['un'], w['web1'], 40000, 8080))
    town.send('web1', f.tcp(w['web1'], w['web2'], 40000, 22))
    town.send('locked', f.ping6(w['locked'], w['blue']))
    town.send('vun', f.tcp(w['vun'], w['vred'], 40000, 22))


def mine(town: Town) -> List[Any]:
    """Return what was refused of this traffic, and not of what guests' kernels say."""
    known = {getattr(town.party(name), field) for name in town.vms for field in ('ip', 'ip6')}
    return [row for row in xsisolate('refused', '--json').json['refused']
            if row['source']['address'] in known and row['target']['address'] in known]


def services(*words: str) -> Dict[str, List[str]]:
    """Return the entries with a service that are suggested, by VM: kernels resolve all the time."""
    found = xsisolate('suggest', *words, '--json').json['suggestions']
    return {one['name']: entries for one in found
            for entries in [[entry for entry in one['add'] if '@' in entry]] if entries}


def apply(town: Town, found: Dict[str, Any]) -> None:
    """Write what the commands of suggestions would write."""
    for one in found['suggestions']:
        vm = town.vms[one['name']]
        _, _, target, option, allow = shlex.split(one['command'])
        assert (target, option) == (one['name'] + '/0', '--allow')
        assert allow.split() == one['allow']
        vm.set_policy(dict(town.policies[one['name']], allow=allow))
        refresh(vm)


@pytest.mark.parametrize('words', [(), ('--group-by', 'subnet'), ('--directions',),
                                   ('--directions', '--group-by', 'subnet')])
def test_what_is_suggested_leaves_no_refusal(town: Town, words: Sequence[str]) -> None:
    try:
        traffic(town)
        assert {row['reason'] for row in mine(town)} >= {
            'not a peer on egress', 'not a peer on ingress', 'service not allowed on egress'}
        for _ in range(ROUNDS):
            found = xsisolate('suggest', *words, '--json').json
            if not found['suggestions']:
                break
            apply(town, found)
        town.forget()
        traffic(town)
        assert mine(town) == []
        assert services(*words) == {}
    finally:
        town.restore()


def test_no_more_than_was_refused(town: Town) -> None:
    """Services stay with the peers that used them."""
    red, un, blue = (town.party(name) for name in ('red', 'un', 'blue'))
    town.send('red', f.tcp(red, un, 40000, 443))
    assert services('red') == {'red': ['tcp/443@10.9.0.99']}
    town.send('red', f.tcp(red, blue, 40000, 443))
    assert services() == {'red': ['tcp/443@10.9.0.21', 'tcp/443@10.9.0.99'],
                          'blue': ['tcp/443@10.9.0.11']}     # who would refuse it next


def test_directions(town: Town) -> None:
    """Of TCP, where one end alone has begun; an answer belongs to whom it answers."""
    red, un, blue, web1 = (town.party(name) for name in ('red', 'un', 'blue', 'web1'))
    town.send('red', f.tcp(red, un, 40000, 443), f.udp(red, un, 40000, 53),
              f.tcp(red, blue, 40000, 22))
    town.send('un', f.tcp(un, red, 40000, 80))
    town.send('blue', f.tcp(blue, red, 40000, 22))
    town.send('web1', f.tcp(web1, un, 8080, 40000, 'SA'))
    assert services('--directions') == {
        'red': ['in:tcp/80@10.9.0.99', 'out:tcp/443@10.9.0.99', 'tcp/22@10.9.0.21',
                'udp/53@10.9.0.99'],
        'blue': ['tcp/22@10.9.0.11'], 'web1': ['in:tcp/8080@10.9.0.99']}
    assert 'tcp/443@10.9.0.99' in services()['red']


def test_who_may_only_answer_has_begun(town: Town) -> None:
    """An entry that lets the peer only answer is no reason to suggest nothing."""
    red, un = town.party('red'), town.party('un')
    try:
        town.vms['red'].set_policy(dict(town.policies['red'], allow='out:10.9.0.99'))
        refresh(town.vms['red'])
        town.send('un', f.tcp(un, red, 40000, 22), f.udp(un, red, 40000, 53))
        assert services() == {'red': ['tcp/22@10.9.0.99']}
        assert services('--directions') == {'red': ['in:tcp/22@10.9.0.99']}
        town.vms['red'].set_policy(dict(town.policies['red'],
                                        allow='out:10.9.0.99 in:tcp/22@10.9.0.99'))
        refresh(town.vms['red'])
        assert services() == {}
    finally:
        town.restore()


def test_what_has_passed_counts_and_the_vm_is_said_to_be_permissive(town: Town) -> None:
    """What a permissive VIF would refuse is what its admin must write before it is enforced."""
    town.record_passed('red', 'un', 4443)
    assert services('red') == {'red': ['tcp/4443@10.9.0.99']}
    assert 'red (%s) lacks' % town.vms['red'].netdev() in xsisolate('suggest', 'red').out
    town.host.configure(CONFIG + '    permissive: true\n')
    try:
        found, = xsisolate('suggest', 'red', '--json').json['suggestions']
        assert found['permissive']
        assert 'red (%s) is permissive, and lacks' % town.vms['red'].netdev() in xsisolate(
            'suggest', 'red').out
    finally:
        town.host.configure(CONFIG)


def test_a_command_keeps_what_is_there(town: Town) -> None:
    town.send('web3', f.tcp(town.party('web3'), town.party('un'), 40000, 443))
    assert services('web3') == {'web3': ['tcp/443@10.9.0.99']}
    command = next(one['command'] for one in xsisolate('suggest', 'web3', '--json').json[
        'suggestions'] if one['name'] == 'web3')
    words = shlex.split(command)
    assert words[:4] == ['xsisolate', 'set', 'web3/0', '--allow']
    assert {'10.9.0.52', 'tcp/443@10.9.0.99'} <= set(words[4].split())


def test_forgeries_are_listed_and_never_suggested(town: Town) -> None:
    red, un, blue = (town.party(name) for name in ('red', 'un', 'blue'))
    town.send('red', f.udp(red._replace(ip='10.9.0.77'), blue), f.ra(red), f.offer(red, blue),
              f.udp(red._replace(mac='02:00:00:00:77:77'), blue), f.tagged(f.udp(red, blue), 120))
    town.send('un', f.udp(un._replace(ip=blue.ip), red))
    found = xsisolate('suggest', '--json').json
    assert services() == {} and not any('10.9.0.77' in one['command']
                                        for one in found['suggestions'])
    assert {never['reason'] for never in found['never']} >= {
        'spoofed IP', 'router advertisement', 'DHCP server', 'spoofed MAC', 'VLAN tag',
        "another's address"}
    shown = xsisolate('suggest').out
    assert 'not to be admitted' in shown and 'spoofed IP' in shown


def test_both_ways(town: Town) -> None:
    red, blue = town.party('red'), town.party('blue')
    town.send('red', f.tcp(red, blue, 40000, 5432))
    town.send('blue', f.tcp(blue, red, 40000, 80))
    assert xsisolate('suggest', '--json').json['both_ways'] == [['blue', 'red']]
    shown = xsisolate('suggest')
    assert 'a common group' in shown.out and 'xsisolate set red/0 --allow' in shown.out


def test_answers_open_nothing(town: Town) -> None:
    """Neither a pong nor ARP is a connection of the other end's."""
    red, blue = town.party('red'), town.party('blue')
    town.send('red', f.ping(red, blue), f.tcp(red, blue, 40000, 5432))
    town.send('blue', f.is_at(blue, red), f.ping(blue, red, type=0))
    assert xsisolate('suggest', '--json').json['both_ways'] == []


def test_an_attacker_is_left_out(town: Town) -> None:
    """By its VM's name or its address, whichever end it is."""
    red, un, blue = (town.party(name) for name in ('red', 'un', 'blue'))
    town.send('red', f.tcp(red, un, 40000, 443), f.tcp(red, blue, 40000, 443))
    town.send('un', f.tcp(un, red, 40000, 22))
    assert services() == {'red': ['tcp/22@10.9.0.99', 'tcp/443@10.9.0.21', 'tcp/443@10.9.0.99'],
                          'blue': ['tcp/443@10.9.0.11']}
    for words in (('--except', 'un'), ('--except', un.ip), ('--except', town.vms['un'].uuid)):
        assert services(*words) == {'red': ['tcp/443@10.9.0.21'], 'blue': ['tcp/443@10.9.0.11']}
    assert services('--except', 'un', '--except', 'blue') == {}


def test_only_arp(town: Town) -> None:
    town.send('red', f.who_has(town.party('red'), town.party('un')))
    assert 'only ARP was seen' in xsisolate('suggest', 'red').out


def test_bad_input(town: Town) -> None:
    for words in (('nosuch',), ('--since', 'soon')):
        found = xsisolate('suggest', *words, code=USAGE)
        assert len(found.err.splitlines()) == 1
