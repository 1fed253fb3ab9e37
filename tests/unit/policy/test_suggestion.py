"""What is suggested admits what was refused, is no wider, and holds nothing needless."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsisolate.policy.address import contains, parse_prefix
from xsisolate.policy.admission import How, Party, Talk, admit
from xsisolate.policy.model import EITHER, IN, OUT, EffectivePolicy, Mode, Peer, Prefix
from xsisolate.policy.seal import format_peer
from xsisolate.policy.service import format_service, parse_rule
from xsisolate.policy.suggestion import OUTSIDE_MAX, Want, suggest_entries
from xsisolate.policy.vmdata_parser import parse_peer

TALKS = {'tcp/443': Talk('tcp', 40000, 443), 'udp/53': Talk('udp', 40000, 53),
         'icmp/8': Talk('icmp', 0, 8), 'icmp6/128': Talk('icmp6', 0, 128), 'esp': Talk('esp'),
         'sctp/3868': Talk('sctp', 40000, 3868)}
ADDRESSES = st.one_of(
    st.integers(0x0a090000, 0x0a09000f).map(lambda value: Prefix(4, value, 32)),
    st.integers(0xfd << 120, (0xfd << 120) + 9).map(lambda value: Prefix(6, value, 128)))
OUTSIDE = st.integers(0xc0000200, 0xc000021f).map(lambda value: Prefix(4, value, 32))
SERVICES = st.sampled_from([None, *map(parse_rule, (
    *TALKS, 'out:tcp/443', 'in:tcp/443', 'out:udp/53'))])
WANTS = st.lists(st.one_of(st.builds(Want, ADDRESSES, SERVICES),
                           st.builds(Want, OUTSIDE, SERVICES, st.just(True))), max_size=40)
ALLOW = st.frozensets(st.builds(Peer, ADDRESSES, SERVICES), max_size=3)


def admits(allow, peer, service, outside=False):
    """Tell whether an allow list admits a peer's service; ARP needs any entry that means it."""
    party = Party('peer', peer, external=outside)
    policy = EffectivePolicy(Mode.ISOLATED, allow=allow)
    if service is None:
        return any(admit(policy, {}, party, talk._replace(leaves=leaves)).how is not How.NOT
                   for talk in TALKS.values() for leaves in (True, False))
    talk = TALKS[format_service(service)]
    return all(admit(policy, {}, party, talk._replace(leaves=leaves)).how is not How.NOT
               for leaves, opposite in ((True, IN), (False, OUT))
               if service.direction != opposite)


@given(WANTS, ALLOW)
def test_what_was_refused_is_admitted(wants, allow):
    found = allow | suggest_entries(wants, allow)
    for want in wants:
        assert admits(found, *want), want


@given(WANTS, ALLOW)
def test_it_is_no_wider(wants, allow):
    """Of each service exactly who used it, but for `external`."""
    for peer in suggest_entries(wants, allow):
        if peer.prefix is None:
            assert len({want.peer for want in wants
                        if want.outside and peer.service == merged(wants, want)}) > OUTSIDE_MAX
            continue
        size = 1 << (32 if peer.prefix.version == 4 else 128) - peer.prefix.length
        assert len({want.peer for want in wants if contains(peer.prefix, want.peer)
                    and peer.service == merged(wants, want)}) == size


def merged(wants, want):
    """Return the service of a want, without direction if the peer is wanted in another, too."""
    if want.service is None:
        return None
    plain = want.service._replace(direction=EITHER)
    begun = {other.service for other in wants if other.service and other._replace(
        service=other.service._replace(direction=EITHER)) == want._replace(service=plain)}
    return want.service if len(begun) == 1 else plain


@given(WANTS)
def test_nothing_is_needless(wants):
    found = suggest_entries(wants, frozenset())
    for peer in found:
        assert not all(admits(found - {peer}, *want) for want in wants), peer


@given(WANTS, ALLOW)
def test_it_is_enough_once(wants, allow):
    found = suggest_entries(wants, allow)
    assert suggest_entries(wants, allow | found) == frozenset()


def words(*wants, **more):
    return sorted(map(format_peer, suggest_entries(
        [Want(parse_prefix(address), parse_rule(service) if service else None, *outside)
         for address, service, *outside in wants], **dict({'allow': frozenset()}, **more))))


@pytest.mark.parametrize('wants, found', [
    ([], []), ([('10.9.0.2', 'tcp/22'), ('10.9.0.3', 'tcp/22')], ['tcp/22@10.9.0.2/31']),
    ([('10.9.0.2', 'tcp/22'), ('10.9.0.3', 'tcp/23')], ['tcp/22@10.9.0.2', 'tcp/23@10.9.0.3']),
    # who resolves a peer that has a service needs no more
    ([('10.9.0.2', 'tcp/22'), ('10.9.0.2', '')], ['tcp/22@10.9.0.2']),
    ([('10.9.0.2', '')], ['10.9.0.2']),
    ([('192.0.2.%d' % number, 'tcp/443', True) for number in range(1, 10)], ['tcp/443@external']),
    ([('192.0.2.%d' % number, 'tcp/443', True) for number in range(8)], ['tcp/443@192.0.2.0/29']),
    ([('10.9.0.2', 'out:tcp/22'), ('10.9.0.3', 'out:tcp/22')], ['out:tcp/22@10.9.0.2/31']),
    ([('10.9.0.2', 'out:tcp/22'), ('10.9.0.2', 'in:tcp/22')], ['tcp/22@10.9.0.2']),
    ([('10.9.0.2', 'out:tcp/22'), ('10.9.0.3', 'in:tcp/22')],
     ['in:tcp/22@10.9.0.3', 'out:tcp/22@10.9.0.2']),
    ([('10.9.0.2', 'out:tcp/22'), ('10.9.0.2', '')], ['out:tcp/22@10.9.0.2']),
    ([('192.0.2.%d' % number, 'in:tcp/443', True) for number in range(1, 10)],
     ['in:tcp/443@external']),
    ([('192.0.2.%d' % number, 'tcp/443', False) for number in (1, 3)],
     ['tcp/443@192.0.2.1', 'tcp/443@192.0.2.3'])])
def test_examples(wants, found):
    assert words(*wants) == found
    assert all(parse_peer(text) for text in found)


def test_by_subnet():
    assert words(('10.9.0.2', 'tcp/22'), ('192.0.2.1', 'tcp/22'),
                 subnets=[parse_prefix('10.9.0.0/24')]) == ['tcp/22@10.9.0.0/24',
                                                            'tcp/22@192.0.2.1']
