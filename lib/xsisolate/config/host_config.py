"""This host's configuration: xsisolate.yaml with labels resolved, or why there is none."""
from xsisolate.config.load import config_file, load_config, read_last_config
from xsisolate.errors import ConfigError
from xsisolate.policy.model import Config, Network
from xsisolate.policy.resolve import find_network, possible_labels
from xsisolate.typing_compat import NamedTuple, Optional


class Configuration(NamedTuple):
    """The host's configuration.

    With an error the file is broken: no VIF gets a policy by it. `config` then is what the file
    said when it was last valid, if that is known, for what VIFs share that go on running.
    """

    config: Config
    error: str = ''

    def find_network(self, bridge: str, network_uuid: str) -> Network:
        """Return what the configuration says about a network."""
        return find_network(self.config, bridge, network_uuid)

    def check_valid(self, consequence: str) -> None:
        """Raise ConfigError if there is no configuration; `consequence` is what it leads to."""
        if self.error:
            raise ConfigError('%s; %s' % (self.error, consequence))


def read_configuration() -> Configuration:
    """Return the configuration; a broken one is an error that quarantines VIFs."""
    try:
        return Configuration(with_uuids(load_config()))
    except ConfigError as error:
        last = read_last_configuration()
        return Configuration(last.config if last else Config(), str(error))


def read_last_configuration() -> Optional[Configuration]:
    """Return the last valid configuration, None if it is not known."""
    config = read_last_config()
    try:
        return Configuration(with_uuids(config)) if config else None
    except ConfigError:
        return None


def read_configuration_in_force() -> Configuration:
    """Return the last valid configuration; if that is not known, the error of the broken file.

    By this running VIFs are put back where all flows are lost.
    """
    found = read_configuration()
    return found if not found.error else read_last_configuration() or found


def with_uuids(config: Config) -> Config:
    """Return the configuration with network uuids for name-labels; raise ConfigError."""
    keys = possible_labels(config)
    if not keys:
        return config
    from xsisolate.dom0.run_files.pool_networks import may_be_bridge, read_networks
    from xsisolate.policy.network_labels import resolve_labels        # few have use for it
    try:
        return resolve_labels(config, keys, read_networks(), may_be_bridge)
    except ConfigError as error:
        raise ConfigError('%s: %s' % (config_file(), error)) from None
