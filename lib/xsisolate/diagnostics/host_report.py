"""What a public issue needs of a host, section by section, with everything of its own hidden."""
import os
import platform
import re
from typing import Callable, Iterator, List, NamedTuple, Set

from xsisolate import __version__
from xsisolate.config.host_config import read_configuration, read_last_configuration
from xsisolate.config.load import config_file, read_config_text
from xsisolate.dataplane.context import HostContext
from xsisolate.diagnostics.explain import read_hostname
from xsisolate.diagnostics.inventory import read_inventory
from xsisolate.diagnostics.pseudonyms import Pseudonyms
from xsisolate.dom0.ovs import appctl, ofctl
from xsisolate.dom0.ovs.ovsdb import Ovsdb
from xsisolate.dom0.run_files.group_members import list_groups
from xsisolate.dom0.run_files.pool_networks import read_networks
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import XsisolateError
from xsisolate.paths import rooted

LOGS = ('/var/log/daemon.log', '/var/log/messages')
OURS = 'xsisolate'
LINES = 2000            # of the log
# How the configuration calls networks without a name of their owner's.
PLAIN_KEY = re.compile(r'\*|xenbr\d+|xapi\d+|xenapi|[0-9a-f-]{36}')
# What a line of ours in syslog says besides uuids and addresses, and which host wrote it.
LOGGED = (re.compile(r'\bgroups=([^\s"]+)'), re.compile(r'\bgroups? ([a-z0-9][a-z0-9_.-]*)'),
          re.compile(r'^(?:[A-Z][a-z]{2} +\d+ [\d:]{8}|\d{4}-\S+) (\S+) '))
# Of a configuration that cannot be read each word is hidden that is none of these.
WORDS = re.compile(r'[\w.-]{2,}')
PLAIN_WORDS = frozenset(
    'version networks groups subnets gateways ipv4 ipv6 mac dhcp_servers default fail_closed vms '
    'vm rules reach addresses unsealed accept grace devid roles holders true false isolated locked '
    'unlocked disabled permissive gateway dhcp router tcp udp icmp icmp6 external yaml etc '
    'xsisolate'.split())


class Section(NamedTuple):
    """A part of a report."""

    title: str
    read: Callable[[], str]


def report_host(more: List[Section]) -> Iterator[str]:
    """Yield a report in pieces; what cannot be read is a line that says so."""
    hider = Pseudonyms(_find_names())
    for section in [Section('versions', _read_versions), *more,
                    Section('configuration', _read_configuration),
                    Section('flows', _read_flows), Section('log', _read_log)]:
        try:
            text = section.read()
        except XsisolateError as error:
            text = 'cannot be read: %s' % error
        yield '## %s\n\n%s\n' % (section.title, hider.hide(text).rstrip('\n'))


def _find_names() -> Set[str]:
    """Return the names that this host knows: its own, VMs', groups' and networks'."""
    node = read_hostname()
    names = {node, node.split('.')[0], *list_groups()}
    for find in (_names_of_configuration, _names_of_pool, _names_of_vifs, _names_of_log):
        try:
            names |= find()
        except XsisolateError:
            pass        # the section that needs it says what is wrong
    return names


def _names_of_configuration() -> Set[str]:
    """Return groups, and networks that do not go by their bridge or uuid."""
    configurations = [read_configuration(), read_last_configuration()]
    names = {name for one in configurations if one for name in (
        *one.config.groups, *(key for key in one.config.networks if not PLAIN_KEY.fullmatch(key)))}
    if read_configuration().error:
        names |= {word for word in WORDS.findall(_read_configuration())
                  if word not in PLAIN_WORDS and not PLAIN_KEY.fullmatch(word)}
    return names


def _names_of_pool() -> Set[str]:
    return {network.label for network in read_networks() or ()}


def _names_of_vifs() -> Set[str]:
    with Ovsdb() as ovsdb, Xenstore() as store:
        inventory = read_inventory(HostContext(ovsdb, store, read_configuration()))
    return {name for view in inventory.vifs for name in (view.vm_name, *view.vif.policy.groups)}


def _names_of_log() -> Set[str]:
    return {name for line in _read_log().splitlines() for pattern in LOGGED
            for found in pattern.findall(line) for name in found.split(',')}


def _read_versions() -> str:
    system = os.uname()
    return 'xsisolate %s\nPython %s\nLinux %s %s\nOpen vSwitch %s' % (
        __version__, platform.python_version(), system.release, system.machine,
        appctl.read_version())


def _read_configuration() -> str:
    """Return the configuration without comments: they may say anything."""
    path = config_file()
    if not os.path.exists(path):
        return 'there is none: %s' % path
    lines = [line.split(' #')[0].rstrip() for line in read_config_text(path).splitlines()]
    return '\n'.join(line for line in lines if line and not line.lstrip().startswith('#'))


def _read_flows() -> str:
    with Ovsdb() as ovsdb:
        names = [bridge.name for bridge in ovsdb.read_bridge_rows()]
    return '\n'.join('### %s\n%s' % (name, ofctl.dump_all(name)) for name in names)


def _read_log() -> str:
    """Return the last of our lines in syslog's files."""
    lines: List[str] = []
    for path in map(rooted, LOGS):
        try:
            with open(path, encoding='utf-8', errors='replace') as file:
                lines += [line.rstrip('\n') for line in file if OURS in line]
        except OSError:
            continue        # hosts have one of them or the other
    return '\n'.join(lines[-LINES:]) or 'no line of ours in ' + ' or '.join(LOGS)
