"""How RFC 7047 writes operations and values, as far as Open vSwitch's tables need it."""
from xsisolate.errors import HostError
from xsisolate.typing_compat import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence

Operation = Dict[str, Any]      # of a transaction: {'op': 'select', 'table': ...}
Result = Dict[str, Any]         # what became of it: {'rows': ...}, {'count': ...}
Row = Dict[str, Any]            # column: value
Condition = Sequence[Any]       # ['name', '==', 'xenbr0']

EMPTY = ['set', []]


def select(table: str, columns: Sequence[str], *where: Condition) -> Operation:
    """Return the operation that reads columns of the rows that meet all conditions."""
    return {'op': 'select', 'table': table, 'where': list(where), 'columns': list(columns)}


def mutate(table: str, where: Sequence[Condition], *mutations: Sequence[Any]) -> Operation:
    """Return the operation that changes columns by what they are: no other change is lost."""
    return {'op': 'mutate', 'table': table, 'where': where, 'mutations': list(mutations)}


def merge(where: Sequence[Condition], values: Mapping[str, Optional[str]],
          table: str = 'Interface', column: str = 'external_ids') -> Operation:
    """Return the operation that sets or removes some of a row's external_ids, or other keys."""
    # `insert` leaves a key that is there as it is, so it has to go first
    new = [[key, value] for key, value in sorted(values.items()) if value is not None]
    return mutate(table, where, [column, 'delete', ['set', sorted(values)]],
                  [column, 'insert', ['map', new]])


def unchanged(table: str, row: Row, *columns: str, where: Sequence[Condition] = ()) -> Operation:
    """Return the operation that fails if a row is not what it was when we looked."""
    return {'op': 'wait', 'table': table, 'timeout': 0, 'columns': list(columns), 'until': '==',
            'where': [['_uuid', '==', row['_uuid']], *where],
            'rows': [{column: row[column] for column in columns}]}


def bump() -> List[Operation]:
    """Return the operations that ask ovs-vswitchd to say when it is done."""
    return [mutate('Open_vSwitch', [], ['next_cfg', '+=', 1]),
            select('Open_vSwitch', ('next_cfg',))]


def next_cfg(results: Sequence[Row]) -> int:
    """Return what `bump`, at the end of a transaction, has got for us."""
    rows = results[-1]['rows']
    if not rows:
        raise HostError('Open vSwitch has an empty database: its start is not finished')
    return int(rows[0]['next_cfg'])


def uuid(row: Row) -> str:
    """Return a row's uuid."""
    return str(row['_uuid'][1])


def atoms(value: Any) -> List[Any]:
    """Return a column's values: OVSDB writes a set of one as the value itself."""
    return list(value[1]) if isinstance(value, list) and value[0] == 'set' else [value]


def as_set(value: Any) -> FrozenSet[Any]:
    """Return a column of any number of values."""
    return frozenset(atoms(value))


def as_optional(value: Any) -> Any:
    """Return a column of at most one value."""
    return next(iter(atoms(value)), None)


def as_dict(value: Any) -> Dict[str, str]:
    """Return a column of keys and values."""
    return dict(value[1])
