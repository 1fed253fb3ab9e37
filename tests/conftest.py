"""Finds the library and the sandbox, and makes the sandbox's fixtures known."""
import os
import sys

TESTS = os.path.dirname(os.path.abspath(__file__))
for folder in (TESTS, os.path.join(os.path.dirname(TESTS), 'lib')):
    if folder not in sys.path:
        sys.path.insert(0, folder)

from lab.fixtures import dom0, hooks, hotplug, namespaces, sealer, served  # noqa: E402,F401
