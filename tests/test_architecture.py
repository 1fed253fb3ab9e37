"""Who may import whom, and how a module may look: docs and reviews need not say it again."""
import ast
import doctest
import importlib
import os
import re

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIB = os.path.join(ROOT, 'lib', 'xsisolate')
HOOKS = os.path.join(ROOT, 'hooks')
LINES = 300

# Values in, values out: nothing that can reach a file, a socket, a clock or a process.
PURE_STDLIB = {'re', 'typing', 'enum', 'operator', 'hashlib', 'itertools', 'functools',
               'collections', 'ipaddress', 'json', 'struct', 'base64', 'binascii', 'hmac', 'zlib'}
PURE = {'policy', 'leases', 'openflow', 'pipeline', 'planner', 'vif_id'}
# What a pure package may hold in a folder that is not pure as a whole.
PURE_MODULES = {'hooks.event', 'daemon.schedule', 'pool.view', 'admin.steps',
                'admin.policy_change', 'admin.locking', 'admin.plugin_protocol', 'admin.proof',
                'admin.host_overview', 'admin.pool_config_protocol', 'admin.activation_protocol',
                'config.stored', 'pool.absent',
                'activation.desired', 'diagnostics.ends', 'diagnostics.passage',
                'diagnostics.trace',
                'diagnostics.carried', 'diagnostics.flow_words', 'networkd.desired',
                'diagnostics.origins',
                'selftest.frames', 'diagnostics.pseudonyms'}
EVERYWHERE = {'errors', 'typing_compat', 'quick_imports', 'vif_id'}
NEIGHBOURS = {'dom0.linux', 'dom0.ovs', 'dom0.xen', 'dom0.xapi', 'dom0.run_files'}
# Who may import whom, besides itself and what is in EVERYWHERE; from the ground upwards.
RULES = {
    'policy': set(),
    'leases': {'policy'},
    'openflow': {'policy'},
    'pipeline': {'openflow', 'policy'},
    'planner': {'pipeline', 'openflow', 'policy'},
    'dom0.linux': {'paths'},
    'dom0.ovs': {'paths', 'dom0.linux', 'openflow'},
    'dom0.xen': {'paths', 'dom0.linux', 'policy'},
    'dom0.run_files': {'paths', 'dom0.linux', 'policy'},
    'dom0.xapi': {'paths', 'dom0.linux'},
    'config': {'paths', 'policy', 'dom0.run_files'},
    'dataplane': {'planner', 'pipeline', 'openflow', 'policy', 'config'} | NEIGHBOURS,
    'hooks': {'paths', 'dataplane', 'planner', 'policy', 'openflow', 'config'} | NEIGHBOURS,
    'daemon': {'paths', 'dataplane', 'planner', 'openflow', 'leases', 'policy',
               'config'} | NEIGHBOURS,
    'networkd': {'paths', 'policy', 'dom0.ovs', 'dom0.xapi', 'dom0.run_files'},
    'pool': {'paths', 'policy', 'config', 'networkd', 'dom0.linux', 'dom0.ovs',
             'dom0.run_files', 'dom0.xapi'},
    'admin': {'policy', 'dom0.xapi'},
    'activation': {'paths', 'dataplane', 'networkd', 'planner', 'policy', 'config'} | NEIGHBOURS,
    'diagnostics': {'paths', 'dataplane', 'planner', 'pipeline', 'openflow', 'policy', 'config',
                    'activation', 'admin', 'networkd'} | NEIGHBOURS,
    # it does what the hooks do, on a bridge of its own
    'selftest': {'paths', 'hooks', 'diagnostics', 'dataplane', 'planner', 'pipeline', 'openflow',
                 'policy', 'config', 'dom0.linux', 'dom0.ovs', 'dom0.xen', 'dom0.run_files'},
    'xapi_plugin': {'activation', 'admin', 'dataplane', 'diagnostics', 'planner', 'policy',
                    'config'} | NEIGHBOURS,
    'migratevm': {'policy', 'dom0.xapi'},      # a package of its own: no other imports it
    'cli': {'activation', 'admin', 'networkd', 'config', 'daemon', 'dataplane', 'diagnostics',
            'openflow', 'policy', 'selftest'} | NEIGHBOURS,
    'errors': set(), 'paths': set(), 'vif_id': set(), 'typing_compat': set(),
    'quick_imports': set(),
    '__init__': set(), '__main__': {'cli'},
}


def find_modules():
    """Return {name below xsisolate: path}."""
    found = {}
    for folder, _, files in os.walk(LIB):
        for file in files:
            path = os.path.join(folder, file)
            name = os.path.relpath(path, LIB)[:-len('.py')].replace(os.sep, '.')
            if file.endswith('.py'):
                found[name[:-len('.__init__')] if name.endswith('.__init__') else name] = path
    return found


MODULES = find_modules()
SCRIPTS = {name: os.path.join(HOOKS, name) for name in os.listdir(HOOKS)
           if os.path.isfile(os.path.join(HOOKS, name))}
FILES = dict(MODULES, **SCRIPTS)


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def parse(path):
    return ast.parse(read(path), path)


def imports_of(path):
    """Return the modules that a file imports; ours without `xsisolate.`."""
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'relative import in ' + path
            # `from package import module` imports the module
            found |= {name for alias in node.names
                      for name in [node.module + '.' + alias.name]
                      if name.replace('xsisolate.', '', 1) in MODULES} or {node.module}
    return {name.replace('xsisolate.', '', 1) for name in found}


def ours(names):
    return {name for name in names if name in MODULES}


def package_of(name):
    """Return the package whose rule holds for a module; neighbours in Dom0 have one each."""
    parts = name.split('.')
    return '.'.join(parts[:2]) if parts[0] == 'dom0' else parts[0]


PURE_NAMES = sorted(name for name in MODULES
                    if package_of(name) in PURE or name in PURE_MODULES)


@pytest.mark.parametrize('name', sorted(set(MODULES) - {'dom0'}))
def test_imports_follow_the_rules(name):
    """A package that is not in RULES has to be put there: its place is a decision."""
    own = package_of(name)
    imported = {package_of(module) for module in ours(imports_of(MODULES[name]))}
    assert imported - {own, '__init__'} <= RULES[own] | EVERYWHERE - {own}


def test_rules_know_no_circle():
    """Each package stands on what is below it, and so the table can be read from the ground."""
    below = dict(RULES)
    while below:
        ground = {package for package, above in below.items() if not above & below.keys()}
        assert ground, 'a circle: ' + ', '.join(sorted(below))
        for package in ground:
            del below[package]


@pytest.mark.parametrize('name', PURE_NAMES)
def test_the_pure_import_nothing_that_does_something(name):
    imported = imports_of(MODULES[name])
    assert imported - ours(imported) <= PURE_STDLIB
    pure = PURE | EVERYWHERE | {'paths'}       # whose names are values
    assert all(package_of(module) in pure or module in PURE_MODULES for module in ours(imported))


@pytest.mark.parametrize('name', PURE_NAMES)
def test_the_pure_open_nothing(name):
    calls = {node.func.id for node in ast.walk(parse(MODULES[name]))
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {'open', 'print', 'input', 'exec', 'eval', '__import__'}


def test_only_reconcile_compares_core_with_the_switch():
    """program and plug may ask the switch about ports; flows are reconcile's."""
    users = {name for name, path in MODULES.items() if name.split('.')[0] != 'dom0'
             and 'apply_diff' in read(path)}
    assert users == {'dataplane.reconcile'}


def test_files_are_written_in_one_way():
    """But a hook's is for the next one, an admin's page may go anywhere; netdev's are switches."""
    writers = {name for name, path in MODULES.items() for node in ast.walk(parse(path))
               if isinstance(node, ast.Call) and len(node.args) > 1
               and getattr(node.func, 'id', getattr(node.func, 'attr', '')) in ('open', 'fdopen')
               and getattr(node.args[1], 's', '') in ('w', 'wb', 'a', 'ab', 'x', 'xb')}
    assert writers == {'dom0.linux.atomic_file', 'config.compiled', 'cli.matrix',
                       'dom0.linux.netdev'}


@pytest.mark.parametrize('name', sorted(SCRIPTS))
def test_hooks_are_doorbells(name):
    door = 'hooks.server' if name == 'serve' else 'hooks.entry'
    assert imports_of(SCRIPTS[name]) <= {'os', 'sys', door, 'xsisolate'}
    assert len(read(SCRIPTS[name]).splitlines()) <= 15


@pytest.mark.parametrize('name', sorted(MODULES))
def test_no_state_in_modules(name):
    """Constants and LOG; a type alias or a type variable is a constant too."""
    for node in parse(MODULES[name]).body:
        targets = getattr(node, 'targets', None) or [getattr(node, 'target', None)]
        for target in targets:
            for element in getattr(target, 'elts', [target]):
                if isinstance(element, ast.Name):
                    assert element.id.isupper() or element.id.istitle() or (
                        element.id[0].isupper()) or (
                            element.id in ('__version__', '__all__')), element.id
    assert not [node for node in ast.walk(parse(MODULES[name])) if isinstance(node, ast.Global)]


@pytest.mark.parametrize('name', sorted(FILES))
def test_python_36_can_read_it(name):
    # feature_version is a best effort; the rest are the slips that it lets pass
    try:
        tree = ast.parse(read(FILES[name]), FILES[name], feature_version=(3, 6))
    except TypeError:       # Python 3.6 or 3.7 itself
        tree = parse(FILES[name])
    for node in ast.walk(tree):
        assert type(node).__name__ not in ('NamedExpr', 'Match', 'TryStar')
        if isinstance(node, ast.ImportFrom):
            assert node.module != '__future__'
        assert not getattr(getattr(node, 'args', None), 'posonlyargs', None)
        if isinstance(node, ast.Call):
            keywords = {keyword.arg for keyword in node.keywords}
            assert not keywords & {'capture_output', 'text'} or not is_subprocess(node)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            assert node.value.id not in ('list', 'dict', 'set', 'frozenset', 'tuple', 'type')


def is_subprocess(call):
    return isinstance(call.func, ast.Attribute) and getattr(
        call.func.value, 'id', '') == 'subprocess'


@pytest.mark.parametrize('name', sorted(set(MODULES) - {'quick_imports', 'hooks.client'}))
def test_no_module_knows_a_private_one(name):
    """Which private module does what depends on Python: one place knows it, and the client."""
    assert not {module for module in imports_of(MODULES[name]) if module.startswith('_')}


@pytest.mark.parametrize('name', sorted(FILES))
def test_no_self_documenting_f_string(name):
    """f'{x=}' came with 3.8, and no parser's feature version refuses it."""
    lines = read(FILES[name]).splitlines()
    for node in ast.walk(parse(FILES[name])):
        if isinstance(node, ast.JoinedStr):
            assert '=}' not in lines[node.lineno - 1] and '=!' not in lines[node.lineno - 1]


@pytest.mark.parametrize('name', sorted(MODULES))
def test_length(name):
    assert len(read(MODULES[name]).splitlines()) <= LINES


def public_nodes(body, prefix=''):
    """Yield the public functions and classes, methods of public classes included."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_'):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_nodes(node.body, node.name + '.')


@pytest.mark.parametrize('name', sorted(FILES))
def test_docstrings(name):
    tree = parse(FILES[name])
    assert ast.get_docstring(tree), 'the module'
    missing = [public for public, node in public_nodes(tree.body)
               if not ast.get_docstring(node)]
    assert not missing


@pytest.mark.parametrize('name', sorted(name for name in MODULES if '>>> ' in read(MODULES[name])))
def test_doctests(name):
    result = doctest.testmod(importlib.import_module('xsisolate.' + name))
    assert result.attempted and not result.failed


def test_each_part_of_the_suite_makes_both_pythons_first():
    """A part that is run alone must not do without the 3.6 that `make test` has."""
    lines = read(os.path.join(ROOT, 'Makefile')).splitlines()
    targets = {line.partition(':')[0]: line.partition(':')[2].split()
               for line, recipe in zip(lines, lines[1:] + ['']) if '##' in line
               and '$(SUITE)' in recipe or line.startswith(('demo:', 'soak:', 'bench', 'test-'))}
    assert {'test', 'test-hooks', 'test-daemon', 'test-packets', 'test-ovs', 'lint'} <= set(targets)
    assert not {name for name, needs in targets.items()
                if not {'$(SANDBOX)', '$(PYTHONS)'} & set(needs)}


def test_tests_find_each_other_through_support_alone():
    """And programs need no test: they run on a Dom0 that has none."""
    folder = os.path.join(ROOT, 'tests')
    paths = [os.path.join(place, name) for place, _, names in os.walk(folder)
             for name in names if name.endswith('.py')]
    texts = {path: read(path) for path in paths}
    imports = {path: set(re.findall(r'^ *(?:from|import) (\w+)', text, re.M))
               for path, text in texts.items()}
    places = {'unit', 'integration', 'system', 'resilience', 'package', 'browser', 'conftest'}
    assert len(paths) > 200
    assert not [path for path, names in imports.items() if names & places
                or any(name.startswith('test_') for name in names)]
    for path, text in texts.items():    # other than in a program's text
        if re.search(r'^sys\.path', text, re.M):
            assert not [node for node in ast.parse(text).body if isinstance(node, ast.Expr)
                        and isinstance(node.value, ast.Call)
                        and "attr='path'" in ast.dump(node.value.func)], path
    programs = os.path.join(folder, 'programs')
    assert [path for path, names in imports.items() if path.startswith(programs)
            and 'support' in names] == [os.path.join(programs, 'soak.py')]
