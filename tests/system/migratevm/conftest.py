"""Two pools that share nothing, and the mover between them."""
from typing import Iterator

import pytest

from sandbox.barepool import BarePool
from support.vm_mover import Mover


@pytest.fixture
def alpha() -> Iterator[BarePool]:
    """The source, with a member."""
    with BarePool('alpha', 11, members=1) as pool:
        yield pool


@pytest.fixture
def beta() -> Iterator[BarePool]:
    """The destination, with a member."""
    with BarePool('beta', 12, members=1) as pool:
        yield pool


@pytest.fixture
def mover(alpha: BarePool, beta: BarePool) -> Mover:
    """The mover, from alpha to beta."""
    return Mover(alpha, beta)
