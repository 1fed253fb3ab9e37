"""A short soak; `make soak` is the long one."""
import time

import pytest

from sandbox.hooks import Hooks

from soak import soaking, summary
from suite import EXPLORE, SEED

SECONDS = 15 * EXPLORE
STEPS = 15              # at least, on a busy machine


@pytest.mark.random
def test_soak(namespaces: None, hooks: Hooks) -> None:
    """Whatever happens in whatever order: the seed replays it."""
    end = time.monotonic() + SECONDS
    with soaking(SEED, hooks.interpreter) as soak:
        while time.monotonic() < end or sum(soak.steps.values()) < STEPS:
            print('%5d  %s' % (sum(soak.steps.values()) + 1, soak.step()), flush=True)
    print(summary(soak, SEED))
