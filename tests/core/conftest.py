"""Adds the option that writes the golden files anew."""


def pytest_addoption(parser):
    """Know --golden."""
    parser.addoption('--golden', action='store_true',
                     help='write tests/core/golden/*.flows instead of comparing with them')
