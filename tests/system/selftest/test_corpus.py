"""What the library ships is what the tests send."""
import gzip

from xsisolate.selftest import parties
from xsisolate.selftest.corpus import PATH, read_corpus
from xsisolate.selftest.played_host import read_configuration

from support.packets import shared_network
from support.packets.shipped_corpus import format_corpus


def test_it_is_what_the_tests_send() -> None:
    with gzip.open(PATH, 'rt', encoding='ascii') as file:
        assert file.read() == format_corpus(), 'make corpus'


def test_the_parties_are_those_of_the_tests() -> None:
    """A row means nothing where its parties have other policies or addresses."""
    assert tuple(parties.POLICIES) == shared_network.POLICIES
    assert {party.name: party.number for party in parties.LAN} == dict(shared_network.LAN)
    assert parties.REMOTE == shared_network.REMOTE
    for party in (*parties.VMS, *parties.LAN, parties.GATEWAY_PARTY):
        who = shared_network.Who(party.name, party.number, party.mac)
        assert (party.ipv4, party.ipv6, party.link_local) == (who.ip, who.ip6, who.ll)
    assert [party.mac for party in parties.VMS] == [
        shared_network.vm_mac(party.number) for party in parties.VMS]


def test_the_configuration_is_that_of_the_tests() -> None:
    from xsisolate.config.load import parse_config
    ours = read_configuration().config
    theirs = parse_config(shared_network.CONFIG % {
        'bridge': parties.TRIAL_BRIDGE, 'more': '', 'permissive': 'false',
        'mac': ', mac: "%s"' % shared_network.GATEWAY_MAC}, 'tests')
    assert ours == theirs._replace(accept_unsealed=False)


def test_nothing_is_left_out_for_want_of_a_place() -> None:
    """All who send are there."""
    places = frozenset(party.place for party in (*parties.VMS, *parties.BEYOND))
    senders = {name for family in read_corpus(places) for row in family.rows
               for name in [row.sender, *[step[0] for step in row.steps]]}
    assert senders <= set(parties.EVERYBODY)
