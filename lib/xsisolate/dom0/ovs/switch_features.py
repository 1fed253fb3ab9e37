"""What a bridge's switch and its datapath can do, as they say themselves; nothing is changed."""
from socket import AF_UNIX, SOCK_STREAM, socket
from struct import Struct
from struct import error as StructError
from typing import Dict, Tuple

from xsisolate.dom0.linux.unix_socket import connect
from xsisolate.dom0.ovs.channel import HEADER, OPENFLOW14, Channel
from xsisolate.dom0.ovs.rundir import find_file
from xsisolate.dom0.ovs.unixctl import Vswitchd
from xsisolate.errors import HostError

TIMEOUT_S = 10.0
METER_FEATURES = 11                 # what a question is about
METERS = Struct('!I')               # how many meters there can be, ...
ELEMENT = Struct('!HHI')            # of a hello: type 1, length, a bit for each version
NAMES = {1: 'OpenFlow10', 2: 'OpenFlow11', 3: 'OpenFlow12', 4: 'OpenFlow13', 5: 'OpenFlow14',
         6: 'OpenFlow15'}


def read_datapath(bridge: str) -> str:
    """Return the name of the datapath that a bridge is on: system@ovs-system is the kernel's."""
    with Vswitchd(TIMEOUT_S) as vswitchd:
        lines = vswitchd.tell('dpif/show').splitlines()
    name = ''
    for line in lines:
        if line and not line[0].isspace():
            name = line.split(':')[0]
        elif line.strip().split(':')[0] == bridge:
            return name
    raise HostError('bridge %s is on no datapath of ovs-vswitchd' % bridge)


def read_openflow_versions(bridge: str) -> Tuple[str, ...]:
    """Return the versions of OpenFlow that a bridge offers when it is connected to."""
    connection = socket(AF_UNIX, SOCK_STREAM)
    path = find_file(bridge + '.mgmt')
    try:
        connect(connection, path, TIMEOUT_S)
        connection.settimeout(TIMEOUT_S)
        version, _, length, _ = HEADER.unpack(connection.recv(HEADER.size))
        # without a list it speaks that version and all before it
        bits = ELEMENT.unpack(connection.recv(ELEMENT.size))[2] if length > HEADER.size else (
            1 << version + 1) - 1
    except (OSError, StructError) as error:
        raise HostError('bridge %s: ovs-vswitchd does not say at %s which versions of OpenFlow '
                        'it speaks: %s' % (bridge, path, error)) from error
    finally:
        connection.close()
    return tuple(name for number, name in sorted(NAMES.items())
                 if bits >> number & 1)


def read_datapath_features(bridge: str) -> Dict[str, str]:
    """Return what ovs-vswitchd has found, by trying, that a bridge's datapath can do."""
    with Vswitchd(TIMEOUT_S) as vswitchd:
        lines = vswitchd.tell('dpif/show-dp-features', bridge).splitlines()
    pairs = [line.partition(':') for line in lines]
    return {name.strip(): value.strip() for name, _, value in pairs}


def count_datapath_flows(bridge: str) -> int:
    """Return how many verdicts of a bridge the datapath has cached."""
    with Vswitchd(TIMEOUT_S) as vswitchd:
        return len(vswitchd.tell('dpif/dump-flows', bridge).splitlines())


def count_meters(bridge: str) -> int:
    """Return how many meters a bridge could have; 0: its datapath knows none."""
    with Channel(bridge, OPENFLOW14, TIMEOUT_S) as channel:
        for part in channel.ask(METER_FEATURES, b''):
            if len(part) >= METERS.size:
                return int(METERS.unpack_from(part)[0])
    return 0
