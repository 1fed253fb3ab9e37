"""What differs on a host whose hooks are ours: files, keys in xenstore, units.

Each is the same question both ways, so that `deactivate` is `activate` with the other answer.
"""
from typing import Callable, Dict, NamedTuple, Optional

from xsisolate.paths import OURS, RULES, STOCK, VIF

DROP_IN = '50-xsisolate.conf'
DROP_IN_FOLDERS = ('/etc/xenopsd.conf.d', '/etc/xenopsd-xc.conf.d')
UDEV_FILE = '/etc/udev/rules.d/zz-xsisolate.rules'
# Planned restarts of Open vSwitch: the package brings the text, for it is systemd's language.
OVS_FILE = '/etc/systemd/system/openvswitch.service.d/50-xsisolate.conf'
OVS_TEXT_FILE = 'rpm/systemd/openvswitch.service.d/50-xsisolate.conf'
SERVER, DAEMON = 'xsisolate-hooks.service', 'xsisolate-watch.service'
UNITS = (SERVER, DAEMON)

DROP_IN_TEXT = '''\
# Written by `xsisolate activate`, removed by `xsisolate deactivate`: xenopsd calls these.
# xenopsd reads every file of this folder when it starts, and does not start if one of
# the two is missing. Which folder it reads depends on its release, so both have this file.
setup-vif-rules=%s/%s
vif-script=%s/%s
''' % (OURS, RULES, OURS, VIF)

# The stock rule (xen-backend.rules) only adds to RUN. `RUN=` in a file that sorts after it
# forgets that, and what any other rule would run for these few events. A VIF's `add` is left
# alone: nothing is to be done then but what kmod does.
UDEV_TEXT = '''\
# Written by `xsisolate activate`, removed by `xsisolate deactivate`: the hook for VIFs that come
# and go, in place of the one in xen-backend.rules. No file that sorts after this one may add to it.
SUBSYSTEM=="xen-backend", KERNEL=="vif*", ACTION=="online|move|remove", \
RUN="%s/%s $env{ACTION} type_if=vif"
SUBSYSTEM=="net", KERNEL=="tap[0-9]*.[0-9]*", ACTION=="add|move|remove", \
RUN="%s/%s $env{ACTION} type_if=tap"
''' % (OURS, VIF, OURS, VIF)


class Step(NamedTuple):
    """Something to be changed: what, in words, and how."""

    text: str
    act: Callable[[], object]


class Pending(NamedTuple):
    """Which running xenopsd does not know yet that the hooks have changed hands.

    A xenopsd is named by its pid and start time; '' is none.
    """

    taken_over: str = ''        # this one still calls the stock hooks
    handed_back: str = ''       # this one still calls ours


def desired_files(active: bool, ovs_text: str) -> Dict[str, Optional[str]]:
    """Return the text of each file that makes the hooks ours; None where none may be."""
    files = {'%s/%s' % (folder, DROP_IN): DROP_IN_TEXT for folder in DROP_IN_FOLDERS}
    files[UDEV_FILE] = UDEV_TEXT
    files[OVS_FILE] = ovs_text
    return {path: text if active else None for path, text in files.items()}


def desired_rules(active: bool) -> str:
    """Return the setup-vif-rules that a plugged VIF's key must name."""
    return '%s/%s' % (OURS if active else STOCK, RULES)


def switch(before: Pending, xenopsd: str, active: bool) -> Pending:
    """Return which xenopsd has not read the new files, after one more change of the hooks.

    A xenopsd that had not read the change before need not read this one.

    >>> switch(Pending(), '17 400', True)
    Pending(taken_over='17 400', handed_back='')
    >>> switch(Pending(taken_over='17 400'), '17 400', False)
    Pending(taken_over='', handed_back='')
    """
    never_knew = (before.handed_back if active else before.taken_over) == xenopsd
    waiting = '' if never_knew else xenopsd
    return Pending(taken_over=waiting) if active else Pending(handed_back=waiting)


def must_restart(pending: Pending, xenopsd: str) -> bool:
    """Tell whether the xenopsd that runs must be started anew to call the right hooks."""
    return bool(xenopsd) and xenopsd in pending
