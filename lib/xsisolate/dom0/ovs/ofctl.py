"""What ovs-ofctl(8) is asked: how many packets flows have met, and the stock flows.

The stock setup-vif-rules makes flows for a locked VIF's port; all of them have the cookie 1.
"""
import re
from typing import FrozenSet

from xsisolate.dom0.linux.process import run
from xsisolate.openflow.ownership import OWNER_MASK, RECORDER

OFCTL = ('ovs-ofctl', '-O', 'OpenFlow14')
STOCK_COOKIE = 'cookie=1/-1'
IN_PORT = re.compile(r'\bin_port=([0-9]+)')
TIMEOUT_S = 20.0


def read_stock_ports(bridge: str) -> FrozenSet[int]:
    """Return the ports that stock flows are about."""
    dump = run(OFCTL + ('--no-stats', '--no-names', 'dump-flows', bridge, STOCK_COOKIE),
               timeout=TIMEOUT_S)
    return frozenset(int(number) for number in IN_PORT.findall(dump))


def delete_stock_flows(bridge: str, ofport: int) -> None:
    """Remove the stock flows of a port, as the stock script itself would."""
    run(OFCTL + ('del-flows', bridge, 'in_port=%d,%s' % (ofport, STOCK_COOKIE)), timeout=TIMEOUT_S)


def dump_all(bridge: str) -> str:
    """Return the dump of all flows of a bridge, with statistics."""
    return run(OFCTL + ('--no-names', 'dump-flows', bridge), timeout=TIMEOUT_S)


def dump_counts(bridge: str, cookie: int, mask: int) -> str:
    """Return the dump, with statistics, of the flows whose cookie matches."""
    return run(OFCTL + ('--no-names', 'dump-flows', bridge, 'cookie=0x%x/0x%x' % (cookie, mask)),
               timeout=TIMEOUT_S)


def dump_record(bridge: str, table: int) -> str:
    """Return the dump of a table, with statistics and how long each flow has met nothing.

    Only Nicira's extension of OpenFlow 1.0 says the last.
    """
    return run(('ovs-ofctl', '-O', 'OpenFlow10', '--no-names', 'dump-flows', bridge,
                'table=%d' % table), timeout=TIMEOUT_S)


def delete_record(bridge: str) -> None:
    """Forget what the switch has recorded of refused frames; it learns what comes next."""
    run(OFCTL + ('del-flows', bridge, 'cookie=0x%x/0x%x' % (RECORDER, OWNER_MASK)),
        timeout=TIMEOUT_S)
