"""This host's xsisolate.yaml, edited: not where the pool's configuration would replace the edit."""
import os
from typing import Callable, NamedTuple, Optional, Tuple

from xsisolate.activation.desired import Step
from xsisolate.config.host_config import Configuration
from xsisolate.config.load import NEW_TEXT, config_file, parse_config, read_config_text
from xsisolate.config.pool_check import says_local
from xsisolate.config.stored import KEY, Stored, parse_stored
from xsisolate.dom0.linux.atomic_file import put_file
from xsisolate.dom0.xapi.pool_secret import read_pool_secret
from xsisolate.dom0.xapi.session import connect
from xsisolate.errors import ConfigError, HostError

Edit = Callable[[str, str], str]    # a configuration's text, and its file's name -> the new text


class FileChange(NamedTuple):
    """The file as it is, and as it shall be."""

    path: str
    before: Optional[str]       # None: there is no file
    after: str

    @property
    def is_needed(self) -> bool:
        """Tell whether anything is to be written."""
        return self.after != (NEW_TEXT if self.before is None else self.before)

    def write(self) -> None:
        """Write the file, with the mode and the owner that it has."""
        put_file(os.path.realpath(self.path), self.after, inside=True, keep=True)

    def put_back(self) -> None:
        """Have the file be as it was."""
        put_file(os.path.realpath(self.path), self.before, inside=True, keep=True)


class Permissive(NamedTuple):
    """What an activation that refuses nothing does beforehand."""

    configuration: Configuration            # as it counts once that is done
    steps: Tuple[Step, ...] = ()
    put_back: Callable[[], object] = lambda: None
    notes: Tuple[str, ...] = ()             # what is enforced all the same


def plan_edit(edit: Edit, instead: str, ask_pool: bool = True) -> FileChange:
    """Return how this host's file is edited; raise ConfigError if the pool's would replace it.

    `instead` is the command that edits the pool's. Without `ask_pool` XAPI is not asked.
    """
    path = config_file()
    before = read_config_text(path) if os.path.exists(path) else None
    after = edit(NEW_TEXT if before is None else before, path)
    if ask_pool and not (before is not None and says_local(before, path)):
        _check_pool(edit, instead, path)
    return FileChange(path, before, after)


def plan_permissive(configuration: Configuration, ask_pool: bool = True) -> Permissive:
    """Return what makes this host's configuration permissive before its hooks change hands."""
    from xsisolate.config.edit import set_permissive    # PyYAML is slow to import
    change = plan_edit(lambda text, file: set_permissive(text, file, True),
                       'xsisolate pool activate --permissive', ask_pool)
    notes = tuple('networks.%s says permissive: false, so its VIFs are enforced' % ascii(name)[1:-1]
                  for name, network in configuration.config.networks.items()
                  if network.permissive is False)
    if not change.is_needed:
        return Permissive(configuration, notes=notes)
    step = Step('write permissive: true into %s, so that nothing is refused' % change.path,
                change.write)
    loose = configuration._replace(config=configuration.config._replace(permissive=True))
    return Permissive(loose, (step,), change.put_back, notes)


def _check_pool(edit: Edit, instead: str, path: str) -> None:
    stored = _read_stored(path)
    if stored is None:
        return
    name = 'version %d of the pool\'s configuration' % stored.version
    if parse_config(edit(stored.text, name), name) != parse_config(stored.text, name):
        raise ConfigError('%s: nothing was changed: the pool has a configuration in XAPI (version '
                          '%d), which would replace the edited file: %s, or write local: true into '
                          'the file' % (path, stored.version, instead))


def _read_stored(path: str) -> Optional[Stored]:
    """Return the pool's configuration that counts; raise HostError if XAPI does not tell."""
    try:
        with connect() as xapi:
            record, = xapi.call('pool.get_all_records').values()
        if not any(KEY.fullmatch(key) for key in record['other_config']):
            return None
        return parse_stored(record['other_config'], str(record['uuid']), read_pool_secret()).newest
    except HostError as error:
        raise HostError('%s: nothing was changed: whether the pool has a configuration, which '
                        'would replace the edited file, is not known: %s: try again when XAPI '
                        'answers, or write local: true into the file' % (path, error)) from error
