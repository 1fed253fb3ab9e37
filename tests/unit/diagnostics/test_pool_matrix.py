"""The matrix of a pool is what one host with all its VIFs would say."""
import copy
import json
from typing import Any, Dict

import pytest
from support.inventories import (host_reply, make_inventory, make_matrix, make_pool, policies,
                                 pool_of_hosts)

from xsisolate.diagnostics.matrix import Matrix, describe
from xsisolate.diagnostics.matrix_page import make_page
from xsisolate.diagnostics.pool_matrix import make_pool_matrix, parse_host


def reaches(matrix: Matrix) -> Dict[str, Any]:
    """Return by VM what it may reach."""
    network, = describe(matrix)['networks']
    names = {vif['vif']: vif['name'] for vif in network['vifs']}
    return {vif['name']: ({names[other]: words for other, words in vif['reaches'].items()},
                          {names[other]: words for other, words in vif['would_reach'].items()},
                          vif['outside'], vif['would_outside'], vif['mode'], vif['permissive'],
                          vif['would_be']) for vif in network['vifs']}


@pytest.mark.parametrize('hosts, count', [(1, 20), (4, 200), (16, 60)])
def test_it_does_not_matter_where_vms_run(hosts: int, count: int) -> None:
    assert reaches(make_pool(hosts, count)) == reaches(make_matrix(count))


def test_the_page_names_hosts() -> None:
    page = make_page(make_pool(4, 200), 'pool lab')
    assert all('host-%d:vif' % (at + 1) in page for at in range(4))
    assert '200 VIFs' in page and 'Who may reach whom on pool lab' in page


def test_hosts_without_vifs() -> None:
    told = pool_of_hosts(4, 0)
    assert make_pool_matrix(told, told[0].config, ('x',)) == Matrix((), (), told[0].config.groups,
                                                                    ('x',))


@pytest.mark.parametrize('change', [
    lambda reply: reply.pop('vifs'), lambda reply: reply.update(vifs={'a': 1}),
    lambda reply: reply.update(vifs=[1]), lambda reply: reply.update(configuration=None),
    lambda reply: reply.update(configuration={'Config': {}}),
    lambda reply: reply['vifs'][0].update(mode='open'),
    lambda reply: reply['vifs'][0].update(addresses=['x']),
    lambda reply: reply['vifs'][0].update(networks=[[1]]),
    lambda reply: reply['vifs'][0].update(said=['10.9.0.1/33']),
    lambda reply: reply.update(code='x')])
def test_what_makes_no_sense_is_refused(change: Any) -> None:
    inventory = make_inventory(list(policies(2)))
    reply = host_reply(inventory.vifs, inventory.configuration.config)
    parse_host('alpha', copy.deepcopy(reply))
    change(reply)
    with pytest.raises(ValueError):
        parse_host('alpha', json.loads(json.dumps(reply)))
