"""Calls that still reach our hooks after they were given back: the stock ones serve them.

xenopsd reads its configuration when it starts. Until it does so again it calls the paths
that it found there, and copies them into the xenstore keys of the VIFs that it plugs.
"""
import os
from typing import NoReturn, Sequence

from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import XsisolateError
from xsisolate.hooks.event import parse_rules_call
from xsisolate.paths import RULES, STOCK


def run_stock(argv: Sequence[str]) -> NoReturn:
    """Become the stock hook of the same name."""
    name = os.path.basename(argv[0])
    if name == RULES:
        correct_key(argv)
    os.execv('%s/%s' % (STOCK, name), ['%s/%s' % (STOCK, name), *argv[1:]])


def correct_key(argv: Sequence[str]) -> None:
    """Let the VIF's key name the stock script: ours may be gone when it is unplugged."""
    try:
        event = parse_rules_call(argv[1:])
        key = '/xapi/%s/private/vif/%d/%s' % (event.vm_uuid, event.vif.devid, RULES)
        with Xenstore() as store:
            if event.vm_uuid and store.read(key) is not None:
                store.write(key, '%s/%s' % (STOCK, RULES))
    except XsisolateError:
        pass        # the stock script complains of what is wrong
