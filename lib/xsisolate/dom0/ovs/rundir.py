"""Where Open vSwitch's daemons keep their sockets."""
import os

FOLDERS = ('/run/openvswitch', '/var/run/openvswitch')


def find_file(name: str) -> str:
    """Return the path of a file of theirs, whether it is there or not."""
    named = os.environ.get('OVS_RUNDIR')
    paths = ['%s/%s' % (folder, name) for folder in ((named,) if named else FOLDERS)]
    return next((path for path in paths if os.path.exists(path)), paths[0])
