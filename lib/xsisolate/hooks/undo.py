"""Undo: what must be taken back if something fails before all is done."""
from xsisolate.errors import XsisolateError
from xsisolate.typing_compat import TYPE_CHECKING, Any, Callable, List, Optional, Tuple, Type

if TYPE_CHECKING:
    from types import TracebackType


class Undo:
    """A stack of steps that are run, last one first, when its block fails.

    A step that fails does not stop the other steps. Its error is reported after the error that
    made the block fail.
    """

    def __init__(self) -> None:
        self._steps: List[Tuple[Callable[..., object], Tuple[Any, ...]]] = []

    def push(self, step: Callable[..., object], *arguments: Any) -> None:
        """Have something done if the block fails from here on."""
        self._steps.append((step, arguments))

    def __enter__(self) -> 'Undo':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional['TracebackType']) -> None:
        if isinstance(error, Exception):
            left = [str(failure) for failure in map(_run, reversed(self._steps)) if failure]
            if left and isinstance(error, XsisolateError):
                error.args = ('; and to undo: '.join([str(error), *left]),)


def _run(step: Tuple[Callable[..., object], Tuple[Any, ...]]) -> Optional[XsisolateError]:
    act, arguments = step
    try:
        act(*arguments)
    except XsisolateError as error:
        return error
    return None
