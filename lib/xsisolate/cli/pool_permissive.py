"""The pool's configuration, made permissive before a host of the pool is activated."""
import argparse
import os
from typing import TYPE_CHECKING

from xsisolate.cli.output import say
from xsisolate.cli.pool_config import digest, read_shown, unpack_text
from xsisolate.cli.pool_connection import ask_all
from xsisolate.cli.pool_push import put
from xsisolate.errors import EXIT_DONE, ConfigError

if TYPE_CHECKING:
    from xsisolate.admin.pool_config_protocol import Shown
    from xsisolate.dom0.xapi.session import Xapi


def make_permissive(xapi: 'Xapi', arguments: argparse.Namespace) -> int:
    """Have the pool's configuration in XAPI say permissive: true; return the exit code.

    A host that is not active takes it over when its daemon runs, and has permissive: true in its
    own file until then: so nothing waits for hosts here.
    """
    from xsisolate.config.edit import set_permissive
    shown = read_shown(xapi, arguments)
    text = base_text(xapi, arguments, shown)
    after = set_permissive(text, arguments.file, True)
    if after == text and shown.version:
        say('the pool\'s configuration says permissive: true already, in version %d'
            % shown.version)
        return EXIT_DONE
    return put(xapi, arguments, shown, after)[1]


def base_text(xapi: 'Xapi', arguments: argparse.Namespace, shown: 'Shown') -> str:
    """Return the configuration that the pool has, or that all hosts have: the one to be edited.

    The first configuration in XAPI replaces the files of all hosts, so that it must not say less.
    """
    from xsisolate.admin.pool_config_protocol import STATE, parse_state
    from xsisolate.config.load import NEW_TEXT, config_file, read_config_text
    if shown.version:
        return unpack_text(shown.packed)
    digests = {answer.reply.digest if not answer.error else answer.error
               for answer in ask_all(xapi, arguments, 'asking hosts', STATE, parse=parse_state)}
    if digests == {''}:
        return NEW_TEXT
    path = config_file()
    own = read_config_text(path) if arguments.host is None and os.path.exists(path) else NEW_TEXT
    if digests == {digest(own)}:
        return own
    raise ConfigError('the pool has no configuration in XAPI, and the first one replaces the files '
                      'of all hosts, which are not all as this host\'s: write one for all of them '
                      '(xsisolate pool config push FILE), and run this again')
