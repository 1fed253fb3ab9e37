"""Adds the option that writes the golden files anew; properties may be slow on a busy machine."""
from hypothesis import HealthCheck, settings

settings.register_profile('busy', deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('busy')


def pytest_addoption(parser):
    """Know --golden."""
    parser.addoption('--golden', action='store_true',
                     help='write tests/unit/planner/golden/*.flows instead of comparing with them')
