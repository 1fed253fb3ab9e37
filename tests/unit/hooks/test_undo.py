"""What a block that fails has begun is taken back, whatever else goes wrong."""
import pytest

from xsisolate.errors import HostError, PolicyError
from xsisolate.hooks.undo import Undo


def fail(text):
    raise HostError(text)


def test_the_last_step_is_taken_back_first():
    done = []
    with pytest.raises(HostError, match='^why$'):
        with Undo() as undo:
            undo.push(done.append, 1)
            undo.push(done.append, 2)
            fail('why')
    assert done == [2, 1]


def test_only_what_was_begun():
    done = []
    with pytest.raises(HostError):
        with Undo() as undo:
            undo.push(done.append, 1)
            fail('why')
            undo.push(done.append, 2)
    assert done == [1]


def test_what_succeeds_stays():
    done = []
    with Undo() as undo:
        undo.push(done.append, 1)
    assert not done


def test_a_step_that_fails_keeps_no_other_from_being_taken():
    """What led here is the error that is raised, with its exit code; the others are told."""
    done = []
    with pytest.raises(PolicyError, match='^why; and to undo: second; and to undo: first$'):
        with Undo() as undo:
            undo.push(done.append, 1)
            undo.push(fail, 'first')
            undo.push(done.append, 2)
            undo.push(fail, 'second')
            raise PolicyError('why')
    assert done == [2, 1]


def test_a_mistake_of_ours_is_taken_back_too():
    done = []
    with pytest.raises(KeyError):
        with Undo() as undo:
            undo.push(done.append, 1)
            {}['nothing']
    assert done == [1]
