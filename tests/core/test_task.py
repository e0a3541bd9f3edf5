from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcflow.core.task import (
    LONGEST_KEY,
    Cause,
    ErrorText,
    Failed,
    Lost,
    Pickled,
    RemoteTraceback,
    Stored,
    Succeeded,
    check_key,
    task_seed,
)
from hpcflow.errors import RequestError, TaskError

PLACE: dict[str, Any] = {
    "key": "r000",
    "stage": "simulate",
    "attempt": 2,
    "host": "node1",
    "worker": "w0",
    "slot": "w0.1",
    "device": "cpu",
    "created": 1.0,
    "submitted": 2.0,
    "started": 3.0,
    "finished": 5.5,
    "collected": 6.0,
}
ERROR = ErrorText(type="ValueError", message="no force field", traceback="Traceback: in f")


# -- keys


@pytest.mark.parametrize("key", ["0-9ab3", "replica 3", "a.b", "...", "é", "β-strand", "🧬", "-"])
def test_a_key_names_a_task(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key",
    ["a/b", "/", "a\0b", "a\nb", "tab\t", "\x7f", "\x85", "\u2028", "\u2029", "\ud800", "\u200b"],
    ids=repr,
)
def test_a_key_with_a_character_that_breaks_paths_or_lines_is_refused(key: str) -> None:
    with pytest.raises(RequestError, match=r"a key has no '/', control character or line"):
        check_key(key)


@pytest.mark.parametrize("key", ["", ".", ".."])
def test_a_key_that_names_a_directory_is_refused(key: str) -> None:
    with pytest.raises(RequestError, match="it names a directory"):
        check_key(key)


@pytest.mark.parametrize("key", [3, None, b"k", ("a",)])
def test_a_key_that_is_no_string_is_refused(key: object) -> None:
    with pytest.raises(RequestError, match=f"a key is a string, not {type(key).__name__}"):
        check_key(key)


def test_the_longest_key_is_counted_in_bytes() -> None:
    assert check_key("x" * LONGEST_KEY)
    assert check_key("é" * (LONGEST_KEY // 2))
    for key in ("x" * (LONGEST_KEY + 1), "é" * (LONGEST_KEY // 2 + 1)):
        with pytest.raises(RequestError, match=r"a key has at most 200 bytes\. Shorten it"):
            check_key(key)


@settings(deadline=None)
@given(key=st.text())
def test_whatever_is_accepted_can_name_a_directory(
    tmp_path_factory: pytest.TempPathFactory, key: str
) -> None:
    try:
        check_key(key)
    except RequestError:
        return
    keys = tmp_path_factory.getbasetemp() / "keys"
    (keys / key).mkdir(parents=True, exist_ok=True)
    assert key in [path.name for path in keys.iterdir()]


# -- seeds


def test_the_seed_of_a_task_never_changes() -> None:
    assert task_seed(2022, "simulate", "r000") == 1431228273837672848


@settings(deadline=None)
@given(st.integers(), st.text(), st.text())
def test_a_seed_has_63_bits(seed: int, stage: str, key: str) -> None:
    assert 0 <= task_seed(seed, stage, key) < 2**63


def test_seeds_differ_between_runs_stages_and_tasks() -> None:
    seeds = {
        task_seed(seed, stage, key)
        for seed in range(10)
        for stage in ("a", "ab", "b")
        for key in ("", "a", "b", "ab")
    }
    assert len(seeds) == 10 * 3 * 4


# -- outcomes


def test_a_plain_value_is_held_as_it_is() -> None:
    outcome = Succeeded(**PLACE, stored={"energy": -44.3})
    assert outcome.value == outcome.result() == {"energy": -44.3}
    assert outcome.duration_s == 2.5
    assert not outcome.replayed


def test_a_pickle_is_opened_only_when_the_value_is_asked_for() -> None:
    outcome = Succeeded(**PLACE, stored=Pickled(b"no pickle"))
    assert repr(outcome.stored) == "Pickled(9 bytes)"
    with pytest.raises(pickle.UnpicklingError):
        _ = outcome.value


def test_a_pickled_value_comes_back() -> None:
    stored = Pickled(pickle.dumps((1, 2)))
    assert isinstance(stored, Stored)
    assert Succeeded(**PLACE, stored=stored).result() == (1, 2)


def test_a_failed_outcome_raises_with_its_cause_place_and_traceback() -> None:
    outcome = Failed(**PLACE, cause=Cause.EXCEPTION, error=ERROR)
    with pytest.raises(TaskError) as caught:
        outcome.result()
    assert str(caught.value) == (
        "task 'r000' of stage 'simulate' failed on slot w0.1 in attempt 2 (exception):"
        " ValueError: no force field\nTraceback: in f"
    )


def test_a_lost_outcome_raises() -> None:
    outcome = Lost(**PLACE, cause=Cause.SLOT_LOST, error=ERROR)
    with pytest.raises(TaskError, match="'r000' of stage 'simulate' was lost in attempt 2: no for"):
        outcome.result()


class FalsyError(Exception):
    def __bool__(self) -> bool:
        return False


class DemandingError(Exception):
    """Its pickle cannot be opened: it is rebuilt from the message alone."""

    def __init__(self, code: int, place: str) -> None:
        super().__init__(f"{code} at {place}")


def raised(error: object) -> ErrorText:
    return ErrorText(type="E", message="m", traceback="in f", pickled=pickle.dumps(error))


@pytest.mark.parametrize("error", [ValueError("no force field"), FalsyError("said no"), KeyError()])
def test_a_failed_outcome_gives_the_exception_itself(error: Exception) -> None:
    outcome = Failed(**PLACE, cause=Cause.EXCEPTION, error=raised(error))
    found = outcome.exception()
    assert type(found) is type(error)
    assert found.args == error.args
    assert isinstance(found.__cause__, RemoteTraceback)
    assert str(found.__cause__) == '\n"""\nin f"""'
    with pytest.raises(TaskError):
        outcome.result()


@pytest.mark.parametrize("pickled", [b"", b"no pickle", raised(DemandingError(3, "x")).pickled])
def test_an_exception_that_cannot_be_rebuilt_is_a_task_error(pickled: bytes) -> None:
    error = msgspec.structs.replace(ERROR, pickled=pickled)
    found = Failed(**PLACE, cause=Cause.EXCEPTION, error=error).exception()
    assert isinstance(found, TaskError)
    assert "ValueError: no force field" in str(found)


def test_something_that_is_no_exception_does_not_stand_for_one() -> None:
    found = Failed(**PLACE, cause=Cause.EXCEPTION, error=raised("a string")).exception()
    assert isinstance(found, TaskError)


def test_only_outcomes_without_a_value_have_an_exception() -> None:
    assert Succeeded(**PLACE, stored=1).exception() is None  # type: ignore[func-returns-value]
    assert isinstance(Lost(**PLACE, cause=Cause.SLOT_LOST, error=ERROR).exception(), TaskError)


def test_an_error_without_a_pickle_is_stored_as_text_alone() -> None:
    assert set(msgspec.json.decode(msgspec.json.encode(ERROR))) == {"type", "message", "traceback"}
    error = raised(ValueError(1))
    assert msgspec.json.decode(msgspec.json.encode(error), type=ErrorText) == error
