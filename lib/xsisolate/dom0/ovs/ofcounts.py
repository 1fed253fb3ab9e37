"""How many packets flows have met: a dump with statistics, of one cookie or several."""
from xsisolate.dom0.linux.process import run

TIMEOUT_S = 20.0


def dump_counts(bridge: str, cookie: int, mask: int) -> str:
    """Return what `ovs-ofctl dump-flows` prints of the flows whose cookie matches."""
    return run(('ovs-ofctl', '-O', 'OpenFlow14', '--no-names', 'dump-flows', bridge,
                'cookie=0x%x/0x%x' % (cookie, mask)), timeout=TIMEOUT_S)
