"""A Dom0 whose hooks trust vm-data, so that tests can set policies without seals."""
import sys

import pytest

from lab.hooks import Hooks
from lab.sandbox import Sandbox

from evidence import CONFIG


@pytest.fixture(scope='module')
def hooks() -> Hooks:
    """The repository's hooks, run by the Python that runs the tests."""
    return Hooks(sys.executable)


@pytest.fixture(scope='module')
def host(dom0: Sandbox) -> Sandbox:
    """The sandbox with two bridges and a configuration."""
    dom0.add_bridge('xenbr0')
    dom0.add_bridge('xenbr1')
    dom0.configure(CONFIG)
    return dom0
