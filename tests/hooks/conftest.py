"""A Dom0 whose hooks trust vm-data, so that tests can set policies without seals.

A test module that is about seals defines fixtures `sealer` and `config` of its own.
"""
import pytest

from lab.sandbox import Sandbox

from evidence import CONFIG


@pytest.fixture(scope='module')
def config() -> str:
    """The configuration that a module's tests begin with."""
    return CONFIG


@pytest.fixture(scope='module')
def host(dom0: Sandbox, config: str) -> Sandbox:
    """The sandbox with two bridges and a configuration."""
    dom0.add_bridge('xenbr0')
    dom0.add_bridge('xenbr1')
    dom0.configure(config)
    return dom0
