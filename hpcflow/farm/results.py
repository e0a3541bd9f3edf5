"""Pickle what tasks return, so that the driver finds its own classes in it, now and when resumed.

cloudpickle sends a class of `__main__` by value. In the driver that made it this gives the class
back; in a later session it would give another class of the same name. So such a class is looked up
by name in the driver's `__main__`, and its value serves only where there is none.
"""

from __future__ import annotations

import io
import operator
import pickle
import sys
from typing import Any

import cloudpickle


def pickle_result(value: Any) -> bytes:
    """Return the pickle of a task's value.

    Raises
    ------
    Exception
        Whatever the value's own methods raise: it cannot be pickled.
    """
    stream = io.BytesIO()
    _ResultPickler(stream).dump(value)
    return stream.getvalue()


def find_class(name: str, by_value: bytes) -> Any:
    """Return the class `name` of `__main__`, or else the one that was sent along."""
    try:
        found = operator.attrgetter(name)(sys.modules["__main__"])
    except AttributeError:
        return pickle.loads(by_value)
    return found if isinstance(found, type) else pickle.loads(by_value)


class _ResultPickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and obj.__module__ == "__main__" and "<" not in obj.__qualname__:
            return find_class, (obj.__qualname__, cloudpickle.dumps(obj))
        return super().reducer_override(obj)
