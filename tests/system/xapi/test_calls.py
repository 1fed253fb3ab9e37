"""Every call that the code makes is on our list, and the list is what XAPI's datamodel says."""
import ast
import json
import os
from typing import Any, Dict, Set

from sandbox.hooks import REPOSITORY
from sandbox.xapicalls import CALLS, LOGIN, LOGIN_PARAMS, OTHERS, ROLES

LIBRARY = os.path.join(REPOSITORY, 'lib', 'xsisolate')
DATAMODEL = os.path.join(os.path.dirname(REPOSITORY), 'shared', 'xapi', 'xenapi.json')
CALLERS = ('call', 'Call')


def calls_in_code() -> Dict[str, Set[int]]:
    """Return the messages that the library's text names, with how many arguments each has."""
    found: Dict[str, Set[int]] = {}
    for folder, _, files in os.walk(LIBRARY):
        for file in files:
            if not file.endswith('.py'):
                continue
            with open(os.path.join(folder, file), encoding='utf-8') as source:
                tree = ast.parse(source.read())
            for node in ast.walk(tree):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
                first: Any = node.args[0]
                if name in CALLERS and isinstance(first, ast.Constant) and '.' in str(first.value):
                    arguments: Any = node.args[1:]
                    if name == 'Call':
                        arguments = getattr(node.args[1], 'elts', None)
                    found.setdefault(str(first.value), set()).add(len(arguments))
    return found


def test_the_code_makes_these_calls_and_no_others() -> None:
    found = calls_in_code()
    assert found.keys() | {'session.logout'} == CALLS.keys()
    assert {method: counts for method, counts in found.items()
            if counts != {len(CALLS[method].params)}} == {}


def test_the_list_is_what_the_datamodel_says() -> None:
    """The datamodel is not ours to keep; where it is not at hand, there is nothing to compare."""
    if not os.path.exists(DATAMODEL):
        return
    with open(DATAMODEL, encoding='utf-8') as file:
        classes = {one['name']: one for one in json.load(file)}
    for method, call in {**CALLS, **OTHERS}.items():
        kind, _, name = method.replace('Async.', '').partition('.')
        message = next(one for one in classes[kind]['messages'] if one['name'] == name)
        types = tuple(param['type'] for param in message['params'])
        assert types == ('session ref',) + call.params or (
            method == 'session.logout' and types == ('session ref',)), method
        roles = [role for role in ROLES if role in message['roles']]
        assert roles == list(ROLES[ROLES.index(call.role):]), method
    login = next(one for one in classes['session']['messages']
                 if 'session.' + one['name'] == LOGIN)
    assert tuple(param['type'] for param in login['params']) == LOGIN_PARAMS


def test_the_fields_that_are_read_exist() -> None:
    """What records are asked for, in the code and in the fake alike."""
    from xsisolate.pool.view import FIELDS
    if not os.path.exists(DATAMODEL):
        return
    with open(DATAMODEL, encoding='utf-8') as file:
        classes = {one['name']: {field['name'] for field in one['fields']}
                   for one in json.load(file)}
    names = {'vm': 'VM', 'vif': 'VIF', 'pif': 'PIF'}
    for kind, fields in FIELDS.items():
        assert set(fields) <= classes[names.get(kind, kind)]
