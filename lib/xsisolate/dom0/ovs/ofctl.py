"""Flows of the stock setup-vif-rules: all of cookie 1, for a locked VIF's port."""
import re
from typing import FrozenSet

from xsisolate.dom0.linux.process import run

OFCTL = ('ovs-ofctl', '-O', 'OpenFlow14')
COOKIE = 'cookie=1/-1'
IN_PORT = re.compile(r'\bin_port=([0-9]+)')
TIMEOUT_S = 20.0


def read_stock_ports(bridge: str) -> FrozenSet[int]:
    """Return the ports that such flows are about."""
    dump = run(OFCTL + ('--no-stats', '--no-names', 'dump-flows', bridge, COOKIE),
               timeout=TIMEOUT_S)
    return frozenset(int(number) for number in IN_PORT.findall(dump))


def delete_stock_flows(bridge: str, ofport: int) -> None:
    """Remove those of a port, as the stock script itself would."""
    run(OFCTL + ('del-flows', bridge, 'in_port=%d,%s' % (ofport, COOKIE)), timeout=TIMEOUT_S)
