"""Installs the library, and the hooks as <prefix>/libexec/xsisolate/{vif,setup-vif-rules,serve}."""
import os
import re
import sys

from setuptools import find_packages, setup
from distutils.command.install_data import install_data  # isort: skip  (setuptools' own)

HERE = os.path.dirname(os.path.abspath(__file__))


def read(*names: str) -> str:
    """Return the text of a file of the repository, empty if there is none."""
    path = os.path.join(HERE, *names)
    if not os.path.exists(path):
        return ''
    with open(path, encoding='utf-8') as file:
        return file.read()


def find_version() -> str:
    """Return the package's version, without importing it."""
    found = re.search(r"^__version__ = '(.+)'$", read('lib', 'xsisolate', '__init__.py'), re.M)
    if not found:
        raise SystemExit('setup.py: lib/xsisolate/__init__.py names no version')
    return found.group(1)


class InstallHooks(install_data):
    """Writes into the hooks' first line the interpreter that has the library.

    In a checkout it is the system's, as Dom0 wants it; udev follows that line.
    """

    def run(self) -> None:
        """Install the hooks, then rewrite their first lines."""
        super().run()
        for path in self.get_outputs():
            with open(path, encoding='utf-8') as file:
                rest = file.read().split('\n', 1)[1]
            with open(path, 'w', encoding='utf-8') as file:
                file.write('#!%s\n%s' % (sys.executable, rest))


COMMAND = {'console_scripts': ['xsisolate = xsisolate.cli:main',
                               'migratevm = xsisolate.migratevm.cli:main']}

setup(
    name='xsisolate',
    version=find_version(),
    description='Network isolation for the VMs of XCP-ng and XenServer hosts',
    long_description=read('README.md'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    package_dir={'': 'lib'},
    packages=find_packages('lib'),
    package_data={'xsisolate.selftest': ['corpus.jsonl.gz']},
    python_requires='>=3.6',
    # the last ovs for Python 3.6 is the one that XCP-ng 8.3 ships
    install_requires=['ovs<3; python_version < "3.7"', 'ovs; python_version >= "3.7"',
                      'XenAPI', 'PyYAML'],
    data_files=[('libexec/xsisolate', ['hooks/serve', 'hooks/setup-vif-rules', 'hooks/vif'])],
    entry_points=COMMAND if 'def main(' in read('lib', 'xsisolate', 'cli', '__init__.py') else {},
    cmdclass={'install_data': InstallHooks},
    zip_safe=False,
)
