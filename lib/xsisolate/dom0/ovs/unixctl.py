"""ovs-vswitchd's own commands, as ovs-appctl gives them."""
from xsisolate.dom0.ovs.jsonrpc import JsonRpc
from xsisolate.dom0.ovs.rundir import find_file
from xsisolate.errors import HostError
from xsisolate.typing_compat import Callable, Optional

PIDFILE = 'ovs-vswitchd.pid'


class Vswitchd(JsonRpc):
    """A connection to ovs-vswitchd; every command ends within `timeout` seconds."""

    def __init__(self, timeout: float) -> None:
        super().__init__(_socket_path(), 'ovs-vswitchd', timeout)

    def tell(self, command: str, *arguments: str,
             poke: Optional[Callable[[], None]] = None) -> str:
        """Have ovs-vswitchd do something, and return what it says; raise HostError if it refuses.

        `poke` is called, once at least, until the answer comes.
        """
        message = self.call(command, arguments, poke=poke)
        if message.get('error'):
            raise HostError('ovs-vswitchd refuses %s: %.200s'
                            % (command, ' '.join(str(message['error']).split())))
        return str(message.get('result') or '')


def _socket_path() -> str:
    """Return where ovs-vswitchd takes commands: its process id is part of the name."""
    return find_file('ovs-vswitchd.%d.ctl' % int(read_process()))


def read_process() -> str:
    """Return the number of ovs-vswitchd's process."""
    path = find_file(PIDFILE)
    try:
        with open(path) as file:
            return '%d' % int(file.read())
    except (OSError, ValueError) as error:
        raise HostError('ovs-vswitchd does not run: %s: %s' % (path, error)) from error
