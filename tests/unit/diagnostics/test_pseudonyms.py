"""A report shows nothing that is a host's own, and shows the same thing as the same."""
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xsisolate.diagnostics.pseudonyms import PLAIN, Pseudonyms
from xsisolate.pipeline.terms import load_mac, mac_match

UUID, MAC = '5f3a9b0e-1c2d-4e5f-8a9b-0c1d2e3f4a5b', 'ba:1c:2f:5e:90:01'
NAMES = ('web', 'web-front', 'finance', 'xcp-host-7', 'Büro 3')


@pytest.mark.parametrize('text', [
    UUID, UUID.upper(), UUID.replace('-', ''), MAC, MAC.upper(), '192.168.77.12', '10.20.30.0/24',
    'fd12:3456::9a', '2001:0db8:1:2:3:4:5:6', 'fe80::b81c:2fff:fe5e:9001',
    'ff02::1:ff5e:9001', '33:33:ff:5e:90:01', 'finance', 'Büro 3', 'xcp-host-7',
    '1:22f849d6c30c0f32a0b1c2d3e4f5a6b7'])
@pytest.mark.parametrize('around', [
    '%s', 'a=%s,b', '"%s"', 'dl_src=%s actions=drop', '[%s]', '%s/1'])
def test_it_is_hidden(text, around):
    hidden = Pseudonyms(NAMES).hide(around % text)
    assert text not in hidden and text.lower() not in hidden.lower()


@pytest.mark.parametrize('text', [
    '0.0.0.0', '255.255.255.255', '255.255.255.0', '127.0.0.1', 'ff02::1', '::1', '12:34:56',
    'ff:ff:ff:ff:ff:ff', '01:00:00:00:00:00/01:00:00:00:00:00', '3.1.0',
    'cookie=0x5849534f40fe0000', 'xenbr0', 'vif5.0', 'table=234, priority=20', 'reg13=0xa000',
    'reg15=0x8/0x18', 'webcam', 'finances', 'the-web',
    'ct_label=0x10020040080000401/0x10020040080000401'])
def test_what_is_nobodys_stays(text):
    assert Pseudonyms(NAMES).hide(text) == text


def test_the_same_is_the_same_and_others_are_others():
    hider = Pseudonyms(NAMES)
    one, other, again = (hider.hide(text) for text in ('10.1.1.1', '10.1.1.2', '10.1.1.1'))
    assert one == again != other
    assert hider.hide(MAC) == hider.hide(MAC.upper())
    assert hider.hide('web and web-front') == 'name-2 and name-1'
    assert hider.hide('fd00::a') == hider.hide('fd00:0::000a')


def test_addresses_that_flows_hold_as_numbers():
    hider = Pseudonyms(())
    match, load = ','.join(mac_match(8, MAC)), load_mac(8, MAC)
    assert match == 'reg8=0xba1c,reg9=0x2f5e9001'
    hidden = hider.hide(match + ' actions=' + load + ',load:0xa090001->NXM_NX_REG7[]')
    for word in ('ba1c', '2f5e9001', '0xa090001'):
        assert word not in hidden
    found = re.findall(r'0xf[0-9a-f]{4}', hidden)
    assert found[0] == found[2] and found[1] == found[3] and len(set(found)) == 3
    assert hider.hide('reg4=0xfd000009,reg7=0x1f/0xff') == 'reg4=0xf0004,reg7=0xf0005/0xff'


def test_what_headers_note():
    text = 'note:' + '.'.join('%02x' % byte for byte in b'red finance 10.9.0.11')
    assert Pseudonyms(()).hide(text + ',drop') == 'note:(21 bytes),drop'


@given(st.lists(st.one_of(st.ip_addresses(v=4).filter(
    lambda address: int(address) > 1 << 27 and not str(address).startswith(('255.', '127.'))),
    st.ip_addresses(v=6).filter(lambda address: int(address) > 1 << 64 and address not in PLAIN)),
    min_size=1), st.text(
        alphabet=' ,=/[]();\n', min_size=1, max_size=3))
def test_no_address_stays(addresses, between):
    """Whatever comes before and behind it, and however many there are."""
    hidden = Pseudonyms(()).hide(between.join(map(str, addresses)))
    left = set(re.split('[^0-9a-f.:]+', hidden)) & set(map(str, addresses))
    assert not {address for address in left
                if not address.startswith(('10.0.', '2001:db8::'))}


@pytest.mark.parametrize('name', [
    'Kunde Müller, Abrechnung 2026', 'a\nb\x1b[2J of somebody', 'x' * 200])
@pytest.mark.parametrize('length', [20, 28, 300])
def test_a_name_is_hidden_however_it_is_shown(name, length):
    for shown in (name[:length], ascii(name)[1:length], repr(name)[1:length],
                  name.encode('ascii', 'backslashreplace').decode()[:length]):
        hidden = Pseudonyms([name]).hide('VM "%s..."' % shown)
        assert hidden.startswith('VM "name-1') and len(hidden) < 20, hidden
