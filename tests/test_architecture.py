"""Who may import whom, and how a module may look: docs and reviews need not say it again."""
import ast
import doctest
import importlib
import os

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIB = os.path.join(ROOT, 'lib', 'xsisolate')
HOOKS = os.path.join(ROOT, 'hooks')
LINES = 300

# Values in, values out: nothing that can reach a file, a socket, a clock or a process.
PURE = {'re', 'typing', 'enum', 'operator', 'hashlib', 'itertools', 'functools', 'collections',
        'ipaddress', 'json', 'struct', '_sha256', '_sha2'}
EVERYWHERE = {'errors', 'hints'}
DOM0_FROM_CORE = {'core.model', 'core.cookie', 'core.flow', 'core.address', 'core.digest',
                  'core.wire.message', 'core.flows.stages'}
DOM0_SHARED = {'dom0.run', 'dom0.unixsocket', 'dom0.rfc7047', 'dom0.jsonrpc', 'dom0.ovsdb',
               'dom0.ovsport', 'dom0.ovsrows', 'dom0.ovsrundir', 'dom0.xenstore',
               'dom0.ofchannel', 'dom0.unixctl', 'dom0.textfile'}
DOORS = ('hooks', 'cli')        # nobody imports these


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


@pytest.mark.parametrize('name', sorted(name for name in MODULES if name.startswith('core')))
def test_core_is_pure(name):
    imported = imports_of(MODULES[name])
    assert all(module in EVERYWHERE or module.startswith('core') for module in ours(imported))
    assert imported - ours(imported) <= PURE


@pytest.mark.parametrize('name', sorted(name for name in MODULES if name.startswith('core')))
def test_core_opens_nothing(name):
    calls = {node.func.id for node in ast.walk(parse(MODULES[name]))
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {'open', 'print', 'input', 'exec', 'eval', '__import__'}


@pytest.mark.parametrize('name', sorted(name for name in MODULES if name.startswith('dom0.')))
def test_neighbours_do_not_know_each_other(name):
    allowed = DOM0_FROM_CORE | DOM0_SHARED | EVERYWHERE
    assert ours(imports_of(MODULES[name])) <= allowed


@pytest.mark.parametrize('name', sorted(MODULES))
def test_nobody_imports_a_door(name):
    for imported in imports_of(MODULES[name]):
        door = imported.split('.')[0]
        assert door not in DOORS or name.split('.')[0] in (door, '__main__')


MOVERS = {'core.layout', 'core.model', 'core.seal', 'core.xapivm', 'dom0.xapi', 'errors'}


@pytest.mark.parametrize('name', sorted(MODULES))
def test_the_mover_keeps_to_itself(name):
    """migratevm is a package of its own: of the library it has what XAPI's records need."""
    imported = ours(imports_of(MODULES[name]))
    if name.split('.')[0] == 'migratevm':
        assert {one for one in imported if one.split('.')[0] != 'migratevm'} <= MOVERS
    else:
        assert not [one for one in imported if one.split('.')[0] == 'migratevm']


def test_only_reconcile_compares_core_with_the_switch():
    """program and plug may ask the switch about ports; flows are reconcile's."""
    users = {name for name, path in MODULES.items() if name.split('.')[0] != 'dom0'
             and 'apply_diff' in read(path)}
    assert users == {'reconcile'}


def test_files_are_written_in_one_way():
    """But a hook's is for the next one, an admin's page may go anywhere; netdev's are switches."""
    writers = {name for name, path in MODULES.items() for node in ast.walk(parse(path))
               if isinstance(node, ast.Call) and len(node.args) > 1
               and getattr(node.func, 'id', getattr(node.func, 'attr', '')) in ('open', 'fdopen')
               and getattr(node.args[1], 's', '') in ('w', 'wb', 'a', 'ab', 'x', 'xb')}
    assert writers == {'dom0.textfile', 'config', 'cli.matrix', 'dom0.netdev'}


@pytest.mark.parametrize('name', sorted(SCRIPTS))
def test_hooks_are_doorbells(name):
    door = 'hookserver' if name == 'serve' else 'hooks'
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
                        element.id[0].isupper()) or element.id == '__version__', element.id
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
