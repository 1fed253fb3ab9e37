"""What no policy can do, whatever it says."""
from hypothesis import given
from hypothesis import strategies as st

from xsisolate.core.address import contains, eui64_link_local
from xsisolate.core.model import (Config, Group, Locking, Mode, Network, Peer, Prefix,
                                  VifPolicy)
from xsisolate.core.policy import resolve_policy
from xsisolate.errors import PolicyError

MAC = '00:16:3e:01:02:03'
VM = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77'
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


@given(st.none() | POLICIES, LOCKINGS, MODES, st.booleans(), ROSTERS)
def test_nothing_loosens(written, locking, default, accept, groups):
    config = Config(accept_unsealed=accept, groups=groups)
    try:
        policy = resolve_policy(VM, MAC, locking, written, config, Network(default))
    except PolicyError as error:
        assert str(error).isprintable() and written not in (None, VifPolicy())
        return
    assert policy.mode >= locking.mode
    assert accept or written in (None, VifPolicy())
    assert_inside(policy.addresses, locking)
    assert all(groups.get(name, Group()).vms in (None, frozenset([VM]))
               for name in policy.groups)


def assert_inside(own, locking):
    if locking.mode is Mode.LOCKED:
        fence = locking.ipv4 | locking.ipv6
        if locking.ipv6:
            fence |= {eui64_link_local(MAC)}
        assert all(any(contains(outer, inner) for outer in fence) for inner in own)
