"""MAC addresses beside a VIF's own: what a list of them means, and who may have one."""
import pytest

from xsisolate.errors import PolicyError
from xsisolate.policy.additional_macs import (VRRP, covers, mac_matches, overlap,
                                              parse_additional, reduce_additional)
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.model import Config, Gateway, Identity, Locking, Mode, Network, VifPolicy
from xsisolate.policy.resolve import is_within, resolve_policy

ONE, TWO, OWN = '00:00:5e:00:01:05', '00:00:5e:00:02:05', '02:00:00:00:00:0b'
OTHER = '02:00:00:00:00:0c'
VIF = Identity('0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77', '0', OWN)


@pytest.mark.parametrize('entries, reduced', [
    ([], []), ([ONE], [ONE]), ([OWN, ONE], [ONE]), ([VRRP, ONE, OTHER], [OTHER, VRRP]),
    ([VRRP], [VRRP])])
def test_what_adds_nothing_is_left_out(entries, reduced):
    assert sorted(reduce_additional(entries, OWN)) == reduced


def test_the_word_comes_to_both_ranges_behind_single_addresses():
    assert mac_matches([VRRP, OTHER]) == [
        OTHER, '00:00:5e:00:01:00/ff:ff:ff:ff:ff:00', '00:00:5e:00:02:00/ff:ff:ff:ff:ff:00']


@pytest.mark.parametrize('entries, mac, covered', [
    ([ONE], ONE, True), ([ONE], TWO, False), ([VRRP], ONE, True), ([VRRP], TWO, True),
    ([VRRP], '00:00:5e:00:03:05', False), ([VRRP], '00:00:5e:00:00:05', False),
    ([VRRP], VRRP, True), ([ONE], VRRP, False), ([], ONE, False)])
def test_covers(entries, mac, covered):
    assert covers(entries, mac) is covered


@pytest.mark.parametrize('one, other, both', [
    ([ONE], [ONE], [ONE]), ([ONE], [TWO], []), ([VRRP], [ONE], [ONE]), ([ONE], [VRRP], [ONE]),
    ([VRRP], [VRRP], [VRRP]), ([OTHER], [VRRP], [])])
def test_overlap(one, other, both):
    assert overlap(one, other) == both


FREE, PLAIN = Locking(), Network()


def resolve(policy, locking=FREE, network=PLAIN):
    return resolve_policy(VIF, None, locking, policy, Config(accept_unsealed=True), network)


def test_a_policy_has_them_where_it_has_addresses():
    policy = VifPolicy(ipv4=frozenset([parse_prefix('10.9.0.2')]), mac=frozenset([ONE, OWN]))
    assert resolve(policy).macs == {ONE} and resolve(policy).mode is Mode.LOCKED
    assert not resolve(policy._replace(mode=Mode.UNLOCKED)).macs


def test_xapi_locks_a_vif_to_its_own():
    policy, locked = VifPolicy(mac=frozenset([ONE])), Locking(Mode.LOCKED)
    with pytest.raises(PolicyError, match='XAPI locks this VIF to its own MAC address'):
        resolve(policy, locked)
    assert resolve(policy._replace(mac=frozenset()), locked).macs == frozenset()
    assert is_within(locked, OWN, Mode.LOCKED, ()) and not is_within(
        locked, OWN, Mode.LOCKED, (), frozenset([ONE]))


@pytest.mark.parametrize('listed, is_gateway', [([ONE], True), ([VRRP], False), ([TWO], False)])
def test_who_lists_the_gateways_address_is_the_gateway(listed, is_gateway):
    network = Network(gateways=(Gateway(parse_prefix('10.9.0.1'), None, ONE),))
    policy = VifPolicy(ipv4=frozenset([parse_prefix('10.9.0.2')]), mac=frozenset(listed))
    assert ('gateway' in resolve(policy, network=network).roles) is is_gateway


def test_the_word_is_no_prefix_of_another():
    for text in ('VRRP', 'vrrp4', '', '5e', '00-00-5e-00-01-05'):
        with pytest.raises(PolicyError):
            parse_additional(text)
