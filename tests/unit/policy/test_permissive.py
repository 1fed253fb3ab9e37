"""Who is judged only, who says so, and what passes then: XAPI's own locking mode alone."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsisolate.errors import PolicyError
from xsisolate.policy.address import parse_prefix
from xsisolate.policy.model import (Config, EffectivePolicy, Group, Identity, Locking, Mode,
                                    Network, VifPolicy)
from xsisolate.policy.permissive import beneath, excuse, is_permissive
from xsisolate.policy.resolve import resolve_or_excuse
from xsisolate.policy.seal import make_seal

VM = '0d9b3f4e-8a4f-2c61-1c5b-6f2f5a3f8c77'
MAC = '00:16:3e:01:02:03'
LINK_LOCAL = 'fe80::216:3eff:fe01:203'
VIF = Identity(VM, '0', MAC)
COPY = Identity('11111111-8a4f-2c61-1c5b-6f2f5a3f8c77', '0', '00:16:3e:01:02:04')

UNLOCKED, LOCKED, ISOLATED, DISABLED = (
    Mode.UNLOCKED, Mode.LOCKED, Mode.ISOLATED, Mode.DISABLED)
STRICT, TRUSTING = Config(), Config(accept_unsealed=True)
PERMISSIVE = Config(permissive=True)
SILENT, LOOSE, FIRM = Network(), Network(permissive=True), Network(permissive=False)
RED = VifPolicy(groups=frozenset(['red']))
SAID = RED._replace(permissive=True)
DENIED = RED._replace(permissive=False)
NO_LOCKING = Locking()


def prefixes(*texts):
    return frozenset(map(parse_prefix, texts))


def resolve(written, config=STRICT, network=LOOSE, locking=NO_LOCKING, sealed=None):
    """Return what a VIF may do whose vm-data is `written`, and whose seal is that of `sealed`."""
    seal = make_seal(VIF, sealed or written) if sealed or written else None
    return resolve_or_excuse(VIF, seal, locking, written, config, network)


# --- whether ---------------------------------------------------------------------------------


@pytest.mark.parametrize('config, network, permissive', [
    pytest.param(STRICT, SILENT, False, id='nobody says so'),
    pytest.param(PERMISSIVE, SILENT, True, id='the file does'),
    pytest.param(PERMISSIVE, FIRM, False, id='the network is firm'),
    pytest.param(STRICT, LOOSE, True, id='the network does'),
    pytest.param(PERMISSIVE, LOOSE, True, id='both do'),
])
@pytest.mark.parametrize('written', [None, RED])
def test_the_configuration_decides_where_the_policy_is_silent(config, network, permissive, written):
    seal = make_seal(VIF, written) if written else None
    assert is_permissive(VIF, seal, written, config, network) is permissive


@pytest.mark.parametrize('config', [STRICT, PERMISSIVE])
@pytest.mark.parametrize('network', [SILENT, LOOSE, FIRM])
@pytest.mark.parametrize('portable', [False, True])
@pytest.mark.parametrize('written, permissive', [(SAID, True), (DENIED, False)])
def test_a_sealed_policy_decides_for_itself(config, network, portable, written, permissive):
    seal = make_seal(VIF, written, portable)
    assert is_permissive(VIF, seal, written, config, network) is permissive


@pytest.mark.parametrize('seal', [
    pytest.param(None, id='unsealed'),
    pytest.param(make_seal(VIF, RED), id='changed'),
    pytest.param(make_seal(COPY, SAID), id="a copy's"),
    pytest.param(make_seal(VIF, RED, True), id='changed, portable'),
    pytest.param(make_seal(VIF, SAID)[:-1], id='unreadable'),
    pytest.param('3' + make_seal(VIF, SAID)[1:], id='another version'),
    pytest.param(make_seal(VIF, SAID) + ':enforced', id='with the mark of another'),
])
@pytest.mark.parametrize('config', [STRICT, TRUSTING])
def test_no_guest_makes_its_own_vif_permissive(seal, config):
    """Not even where vm-data is trusted as it stands: who trusts guests may say so in the file."""
    assert not is_permissive(VIF, seal, SAID, config, SILENT)


@pytest.mark.parametrize('written', [
    pytest.param(None, id='it is gone'),
    pytest.param(RED, id='the key is gone'),
    pytest.param(SAID, id='the guest says yes'),
    pytest.param(VifPolicy(permissive=True), id='the guest says nothing but yes'),
])
@pytest.mark.parametrize('portable', [False, True])
@pytest.mark.parametrize('config, network', [(PERMISSIVE, SILENT), (STRICT, LOOSE)])
def test_no_guest_undoes_enforced(written, portable, config, network):
    seal = make_seal(VIF, DENIED, portable)
    assert not is_permissive(VIF, seal, written, config, network)
    with pytest.raises(PolicyError):
        resolve_or_excuse(VIF, seal, NO_LOCKING, written, config, network)


def test_the_mark_goes_with_a_portable_seal_into_every_copy():
    seal = make_seal(VIF, DENIED, True)
    assert not is_permissive(COPY, seal, DENIED, PERMISSIVE, LOOSE)
    assert not is_permissive(COPY, seal, None, PERMISSIVE, LOOSE)
    assert is_permissive(COPY, make_seal(VIF, SAID, True), SAID, STRICT, FIRM)


@pytest.mark.parametrize('written, seal, permissive', [
    pytest.param(SAID, None, True, id='yes, unsealed'),
    pytest.param(RED, None, True, id='silent, unsealed'),
    pytest.param(DENIED, None, False, id='no, unsealed'),
    pytest.param(DENIED, make_seal(VIF, DENIED), False, id='no, sealed'),
    pytest.param(RED, make_seal(VIF, DENIED), False, id='silent, and the seal says enforced'),
])
def test_on_a_permissive_network_where_vm_data_is_trusted(written, seal, permissive):
    """Whoever trusts vm-data lets it be stricter without a seal, and looser only by the file."""
    assert is_permissive(VIF, seal, written, TRUSTING, LOOSE) is permissive


def test_an_unsealed_no_does_not_count_where_seals_do():
    """It is no admin's word; and the VIF is excused as for any policy that is not sealed."""
    assert is_permissive(VIF, None, DENIED, STRICT, LOOSE)
    found = resolve_or_excuse(VIF, None, NO_LOCKING, DENIED, STRICT, LOOSE)
    assert found.mode is UNLOCKED and found.would_be.startswith('quarantined: xsisolate-seal')


# --- what it comes to ------------------------------------------------------------------------


@pytest.mark.parametrize('written, network', [(RED, LOOSE), (SAID, SILENT), (SAID, FIRM)])
def test_its_policy_is_kept_for_judging(written, network):
    found = resolve(written, network=network)
    assert found == EffectivePolicy(ISOLATED, groups=RED.groups, permissive=True)


def test_an_enforced_vif_is_as_ever():
    assert resolve(DENIED) == resolve(RED, network=SILENT) == EffectivePolicy(
        ISOLATED, groups=RED.groups)


@pytest.mark.parametrize('network, written, locking, found', [
    pytest.param(LOOSE, None, Locking(), EffectivePolicy(UNLOCKED), id='unlocked anyway'),
    pytest.param(LOOSE, VifPolicy(mode=UNLOCKED), Locking(), EffectivePolicy(UNLOCKED),
                 id='unlocked by its policy'),
    pytest.param(LOOSE._replace(default=ISOLATED), None, Locking(),
                 EffectivePolicy(ISOLATED, permissive=True), id='isolated by the network'),
    pytest.param(LOOSE, VifPolicy(permissive=True), Locking(), EffectivePolicy(UNLOCKED),
                 id='its policy says nothing else'),
    pytest.param(LOOSE, None, Locking(LOCKED, prefixes('10.0.0.7')),
                 EffectivePolicy(LOCKED, prefixes('10.0.0.7')), id='no more than XAPI says'),
    pytest.param(LOOSE, RED, Locking(DISABLED), EffectivePolicy(DISABLED), id='XAPI disables it'),
    pytest.param(LOOSE, RED, Locking(LOCKED, prefixes('10.0.0.7'), prefixes('fd00::7')),
                 EffectivePolicy(ISOLATED, prefixes('10.0.0.7', 'fd00::7', LINK_LOCAL), RED.groups,
                                 permissive=True), id='isolated above, locked by XAPI beneath'),
])
def test_where_there_is_something_to_judge(network, written, locking, found):
    assert resolve(written, network=network, locking=locking) == found


@pytest.mark.parametrize('written, network', [
    pytest.param(VifPolicy(mode=DISABLED), LOOSE, id='its policy'),
    pytest.param(None, LOOSE._replace(default=DISABLED), id="the network's default"),
])
@pytest.mark.parametrize('locking', [Locking(), Locking(LOCKED, prefixes('10.0.0.7'))])
def test_what_would_let_nothing_pass_is_said(written, network, locking):
    found = resolve(written, network=network, locking=locking)
    assert found == beneath(MAC, locking)._replace(
        would_be='disabled: its policy lets nothing pass')


@pytest.mark.parametrize('locking, mode, own', [
    pytest.param(Locking(), UNLOCKED, (), id='unlocked'),
    pytest.param(Locking(LOCKED), LOCKED, (), id='locked, no address'),
    pytest.param(Locking(LOCKED, prefixes('10.0.0.7')), LOCKED, ('10.0.0.7',), id='locked'),
    pytest.param(Locking(LOCKED, prefixes('10.0.0.7'), prefixes('fd00::7')), LOCKED,
                 ('10.0.0.7', 'fd00::7', LINK_LOCAL), id='locked, IPv6 and its link-local address'),
    pytest.param(Locking(DISABLED), DISABLED, (), id='disabled'),
])
def test_beneath_is_what_xapi_says(locking, mode, own):
    assert beneath(MAC, locking) == EffectivePolicy(mode, prefixes(*own))


SPOILED = RED._replace(allow=frozenset())
ROSTERED = Group(vms=frozenset())


@pytest.mark.parametrize('written, sealed, config, locking, said', [
    pytest.param(SPOILED, RED, STRICT, Locking(), 'the seal is not that of this policy',
                 id='changed'),
    pytest.param(None, RED, STRICT, Locking(), 'xsisolate-seal of device 0', id='gone'),
    pytest.param(RED, None, STRICT._replace(groups={'red': ROSTERED}), Locking(),
                 'groups: red admits only the VMs on its roster', id='roster'),
    pytest.param(VifPolicy(ipv4=prefixes('10.9.9.9')), None, STRICT,
                 Locking(LOCKED, prefixes('10.0.0.7')), "10.9.9.9 is outside XAPI's ipv4_allowed",
                 id='fence'),
    pytest.param(VifPolicy(mac=frozenset(['00:00:5e:00:01:05'])), None, STRICT,
                 Locking(LOCKED, prefixes('10.0.0.7')), 'mac: XAPI locks this VIF', id='mac'),
    pytest.param(VifPolicy(roles=frozenset(['gateway'])), None, STRICT, Locking(),
                 'roles: gateway needs an address', id='role'),
])
def test_what_would_be_quarantined_is_said(written, sealed, config, locking, said):
    found = resolve(written, config, locking=locking, sealed=sealed)
    assert found._replace(would_be='') == beneath(MAC, locking)
    assert found.would_be.startswith('quarantined: ') and said in found.would_be
    assert not found.permissive and not found.reason and not found.unproven
    with pytest.raises(PolicyError) as refused:
        resolve(written, config, SILENT, locking, sealed)
    assert found == excuse(MAC, locking, str(refused.value))


# --- always ----------------------------------------------------------------------------------

WRITTEN = st.none() | st.builds(
    VifPolicy, st.none() | st.sampled_from([UNLOCKED, LOCKED, ISOLATED, DISABLED]),
    st.none() | st.just(RED.groups), ipv4=st.none() | st.just(prefixes('10.0.0.7')),
    permissive=st.none() | st.booleans()).filter(lambda policy: policy != VifPolicy())
LOCKINGS = st.builds(Locking, st.sampled_from([UNLOCKED, LOCKED, DISABLED]),
                     st.sampled_from([frozenset(), prefixes('10.0.0.7'), prefixes('10.0.0.8')]))
CONFIGS = st.builds(Config, accept_unsealed=st.booleans(), permissive=st.booleans())
NETWORKS = st.builds(Network, st.sampled_from([UNLOCKED, ISOLATED, DISABLED]),
                     permissive=st.none() | st.booleans())


@given(WRITTEN, WRITTEN, LOCKINGS, CONFIGS, NETWORKS)
def test_permissive_is_never_less_than_xapi_and_never_more_than_the_policy(
        written, sealed, locking, config, network):
    seal = make_seal(VIF, sealed) if sealed else None
    permissive = is_permissive(VIF, seal, written, config, network)
    try:
        found = resolve_or_excuse(VIF, seal, locking, written, config, network)
    except PolicyError:
        assert not permissive
        return
    assert found.mode >= locking.mode and found.mode is not Mode.QUARANTINED
    assert permissive or not (found.permissive or found.would_be)
    assert not found.permissive or found.mode in (LOCKED, ISOLATED)
    if found.would_be:
        assert found._replace(would_be='') == beneath(MAC, locking)


@given(WRITTEN, LOCKINGS, NETWORKS)
def test_without_the_word_nothing_is_permissive(written, locking, network):
    """And what an enforced VIF may do is the same, whatever its network would say of others."""
    silent = written and written._replace(permissive=None)
    silent = None if silent == VifPolicy() else silent
    firm = (silent or VifPolicy())._replace(permissive=False)
    outcomes = [_outcome(silent, locking, STRICT, network._replace(permissive=None)),
                _outcome(firm, locking, PERMISSIVE, network._replace(permissive=True))]
    assert outcomes[0] == outcomes[1]


def _outcome(written, locking, config, network):
    seal = make_seal(VIF, written) if written else None
    try:
        return resolve_or_excuse(VIF, seal, locking, written, config, network)
    except PolicyError as error:
        return str(error)
