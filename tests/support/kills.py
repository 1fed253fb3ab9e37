"""At which of its calls to the world a process is killed in this run."""
import os
import random
from typing import List

from suite import SEED


def chosen(count: int, some: int = 12) -> List[int]:
    """Return the numbers of some calls, others in each run; of all with KILLS=all."""
    if os.environ.get('KILLS') == 'all':
        return list(range(1, count + 1))
    return sorted(random.Random(SEED).sample(range(1, count + 1), min(some, count)))
