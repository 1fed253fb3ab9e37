"""Nothing of its own: the sandbox's fixtures are tests/conftest.py's."""
