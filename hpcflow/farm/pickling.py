"""Functions and inputs on their way out: as bytes, with a digest, or with a clear refusal."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import pickle
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType, MethodType
from typing import Any

import cloudpickle
import msgspec

from hpcflow.errors import RequestError

NUMBERS: frozenset[type] = frozenset({int, float, bool, type(None)})
"""Types whose values travel as they are, and are told apart by how they are written."""
ATOMS = NUMBERS | {str, bytes}
"""Types whose values can always be pickled."""
_LONGEST_NUMBER = 10**40
"""A larger integer is told by a digest, as other inputs are: it would make a long key."""
_MOST_DEPTH = 6


def pickle_input(value: Any, *, what: str) -> bytes:
    """Return the pickle of a task's input.

    Parameters
    ----------
    value
        The input.
    what
        Which task it is, for the message.

    Raises
    ------
    RequestError
        If it cannot be pickled: names the part that cannot.
    """
    if type(value) in ATOMS:
        return pickle.dumps(value, 5)
    return _pickle(value, what)


def pickle_function(function: Callable[..., Any]) -> bytes:
    """Return the pickle of a function.

    Raises
    ------
    RequestError
        If it is not callable or cannot be pickled: names the part that cannot.
    """
    _check_callable(function)
    return _pickle(function, f"function {name_of(function)}")


def pickle_call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """Return the pickle of a function and its arguments, as a pair.

    Raises
    ------
    RequestError
        As `pickle_function`.
    """
    _check_callable(function)
    return _pickle((function, arguments), f"function {name_of(function)} and its arguments")


def _check_callable(function: object) -> None:
    if not callable(function):
        raise RequestError(
            f"cannot run {function!r}: a {type(function).__name__} is not callable. Give a"
            " function."
        )


def _pickle(value: Any, what: str) -> bytes:
    try:
        return bytes(cloudpickle.dumps(value))
    except Exception as error:
        part = next(_unpicklable(value, "it", _MOST_DEPTH), None)
        culprit = f": {part} cannot be pickled" if part else ""
        raise RequestError(
            f"cannot send {what}{culprit} ({type(error).__name__}: {error}). Make it inside the"
            " task, or load it once per runner with farm.preload."
        ) from error


def _unpicklable(value: Any, path: str, depth: int) -> Iterator[str]:
    """Yield the innermost parts of `value` that cannot be pickled, as paths."""
    inner = False
    if depth:
        for name, part in _parts(value):
            try:
                cloudpickle.dumps(part)
            except Exception:  # noqa: BLE001  # pickling calls the user's own methods
                inner = True
                yield from _unpicklable(
                    part, name if path == "it" else f"{path} > {name}", depth - 1
                )
    if not inner:
        yield f"{path} (a {type(value).__module__}.{type(value).__qualname__})"


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"item {key!r}", part) for key, part in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"item {index}", part) for index, part in enumerate(value))
    elif inspect.ismethod(value):
        yield f"the object of method {value.__name__}", value.__self__
    elif inspect.isfunction(value):
        closure = inspect.getclosurevars(value)
        for name, part in {**closure.nonlocals, **closure.globals}.items():
            yield f"variable {name!r} of function {value.__name__}", part
    elif isinstance(attributes := getattr(value, "__dict__", None), dict):
        yield from ((f"attribute {name!r}", part) for name, part in attributes.items())


def is_short_number(value: Any) -> bool:
    """Return whether an input is a number, a truth value or None, and short when written down."""
    kind = type(value)
    return kind in NUMBERS and (kind is not int or -_LONGEST_NUMBER < value < _LONGEST_NUMBER)


def are_short_numbers(values: Sequence[Any]) -> bool:
    """Return whether every one of some inputs is what `is_short_number` asks for."""
    kinds = set(map(type, values))
    if not kinds <= NUMBERS:
        return False
    integers = values if kinds == {int} else [each for each in values if type(each) is int]
    return not integers or (min(integers) > -_LONGEST_NUMBER and max(integers) < _LONGEST_NUMBER)


def _canonical_parts(value: Any) -> Any:
    """Return plain data that says the same as an object: its class, and what rebuilds it."""
    if isinstance(value, FunctionType):
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        name = f"{value.__module__}.{value.__qualname__}"
        return [name, _code_digest(value.__code__), held, value.__defaults__, value.__kwdefaults__]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, type) or inspect.isroutine(value):
        name = f"{value.__module__}.{value.__qualname__}"
        owner = getattr(value, "__self__", None)
        return name if owner is None or inspect.ismodule(owner) else [name, owner]
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return [kind, reduced]
    _, arguments, *rest = reduced
    state, items, pairs = (*rest, None, None, None)[:3]
    return [kind, arguments, state, list(items or ()), list(pairs or ())]


_canonical = msgspec.msgpack.Encoder(order="deterministic", enc_hook=_canonical_parts)


def digest_input(value: Any, data: bytes, *, size: int = 6) -> str:
    """Return a digest of an input's content, the same in every session.

    It is taken over a canonical form: a pickle depends on which strings happen to be one object,
    on the order of sets, and on random names that cloudpickle gives to classes. A function counts
    with its source and with what its closure holds, not with the globals that it uses. A number is
    its own digest.

    Parameters
    ----------
    value
        The input.
    data
        Its pickle.
    size
        Length of the digest [bytes]; it is returned in hexadecimal.
    """
    if is_short_number(value):
        return repr(value)
    try:
        content = _canonical.encode(value)
    except (TypeError, OverflowError, RecursionError, ValueError):
        content = data
    return hashlib.blake2b(content, digest_size=size).hexdigest()


@functools.lru_cache(maxsize=1024)
def _code_digest(code: CodeType) -> str:
    """Return a digest of a function's source, or of its bytecode where there is none."""
    content = "" if code.co_name == "<lambda>" else _source_content(code)
    content = content or _code_content(code)
    return hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=8).hexdigest()


def name_of(function: Callable[..., Any]) -> str:
    """Return the name by which people know a function: of a partial or an object, what it wraps."""
    wrapped = getattr(function, "func", function)
    name = getattr(wrapped, "__name__", type(wrapped).__name__)
    return "lambda" if name == "<lambda>" else str(name)


def fingerprint(function: Callable[..., Any]) -> str:
    """Return a digest of what a function does, by which a resumed run notices a changed one.

    It is taken over the source without comments, layout and docstrings; of a lambda over its
    bytecode, since its source cannot be told from the line around it. Where there is neither (a
    built-in), the name is what counts. The values that a closure holds and the functions it calls
    are not looked at.
    """
    wrapped = inspect.unwrap(getattr(function, "func", function))
    if not (inspect.isroutine(wrapped) or inspect.isclass(wrapped)):
        wrapped = type(wrapped)
    name = f"{getattr(wrapped, '__module__', '')}.{getattr(wrapped, '__qualname__', '')}"
    content = _lambda_content(wrapped) or _source_content(wrapped) or name
    return hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _lambda_content(function: Any) -> str:
    if getattr(function, "__name__", "") != "<lambda>":
        return ""
    return _code_content(function.__code__)


def _code_content(code: CodeType) -> str:
    constants = [_constant_content(constant) for constant in code.co_consts]
    names = (code.co_names, code.co_varnames, code.co_freevars)
    return f"{code.co_code.hex()} {constants} {names}"


def _constant_content(constant: Any) -> str:
    if isinstance(constant, CodeType):
        return _code_content(constant)
    if isinstance(constant, frozenset):
        return str(sorted(map(_constant_content, constant)))
    if isinstance(constant, tuple):
        return str(list(map(_constant_content, constant)))
    return repr(constant)


def _source_content(function: Any) -> str:
    """Return the source without comments, layout and docstrings; "" where there is none."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(tree)
