"""The two ends of a call to the plugin: what one describes the other reads."""
import json
from typing import Any

import pytest

from xsisolate.admin.plugin_protocol import AppliedVif, describe_reply, parse_reply
from xsisolate.policy.model import Mode
from xsisolate.policy.seal import Sealing

GOOD = AppliedVif('0', 'vif5.0', 'xenbr0', Sealing.SEALED, Mode.ISOLATED, ('blue', 'red'), '',
                  True, 7, 1)
BAD = AppliedVif('1', 'vif5.1', 'xapi3', Sealing.CHANGED, Mode.QUARANTINED, (), 'no seal', False)


def reply(**fields: Any) -> Any:
    """Return an answer about one VIF, with some of its fields changed."""
    return {'vm': 'uuid', 'vifs': [{**GOOD.describe(), **fields}]}


def test_what_a_host_describes_is_what_a_command_reads() -> None:
    assert parse_reply(json.loads(json.dumps(describe_reply('uuid', [GOOD, BAD])))) == [GOOD, BAD]


def test_the_json_that_other_tools_read() -> None:
    """Its keys are documented: other tools read them, and hosts of another release write them."""
    assert BAD.describe() == {
        'device': '1', 'vif': 'vif5.1', 'bridge': 'xapi3', 'seal': 'changed',
        'mode': 'quarantined', 'groups': [], 'error': 'no seal', 'applied': False, 'added': 0,
        'deleted': 0, 'permissive': False}
    assert GOOD.describe()['error'] is None


def test_a_newer_host_may_say_more() -> None:
    assert parse_reply(reply(colour='green')) == [GOOD]


def test_an_older_host_says_nothing_of_permissive() -> None:
    answer = reply()
    del answer['vifs'][0]['permissive']
    assert parse_reply(answer) == [GOOD]
    assert parse_reply(reply(permissive=True)) == [GOOD._replace(permissive=True)]


@pytest.mark.parametrize('answer', [
    None, [], 'x', {}, {'vifs': None}, {'vifs': [3]}, {'vifs': [{}]}, reply(mode='asleep'),
    reply(mode=None), reply(seal='wax'), reply(applied='yes'), reply(applied=None),
    reply(added='many'), reply(groups=None)])
def test_an_answer_that_makes_no_sense(answer: Any) -> None:
    with pytest.raises(ValueError):
        parse_reply(answer)


def test_seals_that_have_arrived() -> None:
    arrived = {state for state in Sealing if GOOD._replace(seal=state).is_sealed}
    assert arrived == {Sealing.SEALED, Sealing.NONE}
