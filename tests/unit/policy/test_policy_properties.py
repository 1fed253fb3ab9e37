"""What no policy can do, whatever it says."""
from hypothesis import given
from hypothesis import strategies as st

from xsisolate.errors import PolicyError
from xsisolate.policy.address import contains, eui64_link_local
from xsisolate.policy.model import (Config, Group, Identity, Locking, Mode, Network, Peer, Prefix,
                                    VifPolicy)
from xsisolate.policy.resolve import resolve_policy
from xsisolate.policy.seal import make_seal

MAC = '00:16:3e:01:02:03'
VM = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77'
VIF = Identity(VM, '0', MAC)
NAMES = ('red', 'blue', 'green')

MODES = st.sampled_from([mode for mode in Mode if mode is not Mode.QUARANTINED])
FLOORS = st.sampled_from([Mode.UNLOCKED, Mode.LOCKED, Mode.DISABLED])
IPV4 = st.frozensets(st.integers(28, 32).map(
    lambda length: Prefix(4, 0x0a000000, length)), max_size=3)
IPV6 = st.frozensets(st.integers(120, 128).map(
    lambda length: Prefix(6, 0xfd << 120, length)), max_size=3)
GROUPS = st.frozensets(st.sampled_from(NAMES))
POLICIES = st.builds(VifPolicy, st.none() | MODES, st.none() | GROUPS,
                     st.none() | st.just(frozenset([Peer(None)])), st.none() | IPV4,
                     st.none() | IPV6)
LOCKINGS = st.builds(Locking, FLOORS, IPV4, IPV6)
ROSTERS = st.dictionaries(st.sampled_from(NAMES), st.builds(
    Group, vms=st.sampled_from([None, frozenset(), frozenset([VM])])))


@st.composite
def written_and_sealed(draw):
    """Draw what vm-data says and what was sealed, often the same."""
    written = draw(st.none() | POLICIES.filter(any_key))
    return written, draw(st.just(written) | st.none() | POLICIES.filter(any_key))


def any_key(policy):
    """Tell whether there is anything to seal."""
    return policy != VifPolicy()


@given(written_and_sealed(), LOCKINGS, MODES, st.booleans(), ROSTERS)
def test_nothing_loosens(both, locking, default, accept, groups):
    written, sealed = both
    config = Config(accept_unsealed=accept, groups=groups)
    seal = None if sealed is None else make_seal(VIF, sealed)
    try:
        policy = resolve_policy(VIF, seal, locking, written, config, Network(default))
    except PolicyError as error:
        assert str(error).isprintable() and (written or sealed)
        return
    assert policy.mode >= locking.mode
    assert accept or written == sealed
    assert_inside(policy.addresses, locking)
    assert all(groups.get(name, Group()).vms in (None, frozenset([VM]))
               for name in policy.groups)


def assert_inside(own, locking):
    if locking.mode is Mode.LOCKED:
        fence = locking.ipv4 | locking.ipv6
        if locking.ipv6:
            fence |= {eui64_link_local(MAC)}
        assert all(any(contains(outer, inner) for outer in fence) for inner in own)
