"""Makes the sandbox's fixtures known; setup.cfg says where the library and the programs are."""
import pytest

pytest.register_assert_rewrite('support')

from sandbox.fixtures import dom0, hooks, hotplug, namespaces, sealer, served  # noqa: E402,F401
