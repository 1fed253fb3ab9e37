"""What annotations and values need, without `typing`: each VM's boot waits for our start.

On Python 3.6 importing `typing` takes 10 ms, as long as the interpreter's own start, and
evaluating our annotations and making our named tuples with it takes 25 more. So at run
time a type is a thing that can be subscripted and means nothing, and a named tuple is
made without compiling a text. mypy, which never runs us, reads the real ones.
"""
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import AbstractSet as AbstractSet
    from typing import Any as Any
    from typing import Callable as Callable
    from typing import Collection as Collection
    from typing import Container as Container
    from typing import Dict as Dict
    from typing import FrozenSet as FrozenSet
    from typing import Iterable as Iterable
    from typing import Iterator as Iterator
    from typing import List as List
    from typing import Mapping as Mapping
    from typing import NamedTuple as NamedTuple
    from typing import NoReturn as NoReturn
    from typing import Optional as Optional
    from typing import Sequence as Sequence
    from typing import Set as Set
    from typing import Tuple as Tuple
    from typing import Type as Type
    from typing import TypeVar as TypeVar
    from typing import Union as Union
else:
    class Hint:
        """Stands for every type; annotations are evaluated, and this is what they become."""

        __slots__ = ()

        def __getitem__(self, key):
            """Return a type of types: List[str]."""
            return self

        def __call__(self, *args, **options):
            """Return a type variable: TypeVar('T')."""
            return self

    AbstractSet = Any = Callable = Collection = Container = Dict = FrozenSet = Iterable = Hint()
    Iterator = List = Mapping = NoReturn = Optional = Sequence = Set = Tuple = Type = Hint()
    TypeVar = Union = Hint()

    class Record(tuple):
        """The base of all named tuples."""

        __slots__ = ()
        _fields = ()
        _field_defaults = {}
        _last = ()          # the defaults of the last fields

        def __new__(cls, *values, **named):
            """Return a value from its fields by position, by name and by default."""
            fields = cls._fields
            if not named:
                absent = len(fields) - len(values)
                if not absent:
                    return tuple.__new__(cls, values)
                if 0 < absent <= len(cls._last):
                    return tuple.__new__(cls, values + cls._last[-absent:])
            missing = fields[len(values):]
            if missing:
                known = dict(cls._field_defaults, **named)
                if not all(field in known for field in missing):
                    raise TypeError('%s needs %s' % (cls.__name__, ', '.join(missing)))
                values += tuple([known[field] for field in missing])
            if len(values) > len(fields) or not set(named) <= set(missing):
                raise TypeError('%s has the fields %s' % (cls.__name__, ', '.join(fields)))
            return tuple.__new__(cls, values)

        def __repr__(self):
            """Return the value as it would be written."""
            return '%s(%s)' % (type(self).__name__, ', '.join(
                '%s=%r' % pair for pair in zip(self._fields, self)))

        def _replace(self, **named):
            """Return the value with some fields changed."""
            fields = self._fields
            values = [named.pop(field, value) for field, value in zip(fields, self)]
            if named:
                raise ValueError('%s has no %s' % (type(self).__name__, ', '.join(named)))
            return tuple.__new__(type(self), values)

        def _asdict(self):
            """Return the fields' values by name."""
            return dict(zip(self._fields, self))

    class NamedTupleMeta(type):
        """Makes a class body's annotations the fields of a tuple."""

        def __new__(cls, name, bases, body):
            """Return a plain class: nothing but NamedTuple itself has this metaclass."""
            if not bases:
                return type.__new__(cls, name, bases, body)
            from operator import itemgetter     # a hook that is served needs none
            fields = tuple(body.pop('__annotations__', ()))
            defaults = {field: body[field] for field in fields if field in body}
            body.update((field, property(itemgetter(at))) for at, field in enumerate(fields))
            body.update(__slots__=(), _fields=fields, _field_defaults=defaults,
                        _last=tuple(defaults.values()))
            return type(name, (Record,), body)

    class NamedTuple(metaclass=NamedTupleMeta):
        """An immutable value with named fields."""
