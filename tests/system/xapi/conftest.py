"""A pool of two hosts, and VMs that are gone after each test."""
from typing import Iterator

import pytest

from sandbox.pool import Pool

from support.xapi_admin import Admin


@pytest.fixture(scope='session')
def pool() -> Iterator[Pool]:
    """Two hosts, for all tests that leave them as they were."""
    with Pool() as pool:
        yield pool


@pytest.fixture
def admin(request: pytest.FixtureRequest, pool: Pool) -> Admin:
    """The command, run by an admin: as a process, where a module does not say that it is QUICK."""
    return Admin(pool, getattr(request.module, 'QUICK', False))


@pytest.fixture
def process(pool: Pool) -> Admin:
    """The command as a process, as udev's or an admin's poor locale has it."""
    return Admin(pool)


@pytest.fixture(autouse=True)
def cleaned(request: pytest.FixtureRequest) -> Iterator[None]:
    """Destroy the VMs of a test."""
    yield
    if 'pool' in request.fixturenames:
        pool: Pool = request.getfixturevalue('pool')
        pool.fault = None
        for vm in list(pool.vms.values()):
            pool.destroy(vm)
        del pool.db.calls[:], pool.db.roles[:]
