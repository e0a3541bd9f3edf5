"""A run configuration: one TOML file that names an ensemble and what is asked of the farm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hpcflow.ensembles.ensemble import Ensemble, FarmOptions
from hpcflow.errors import nearest
from hpcflow.settings import Document, read_document

KINDS = ("command", "openmm")
"""What `ensemble`, at the top of a run configuration, can be."""

_Tables = TypeVar("_Tables", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfiguration:
    """An ensemble, and what is asked of the farm that runs it."""

    kind: str
    """One of `KINDS`."""
    ensemble: Ensemble
    options: FarmOptions = field(default_factory=FarmOptions)

    def describe(self) -> dict[str, Any]:
        """Return what identifies the ensemble, with absolute paths, as a TOML-able mapping.

        `from_description` builds the same configuration from it. What is asked of the farm is no
        part of it: a run may go on with more slots or another time limit.
        """
        return {"ensemble": self.kind, **self.ensemble.describe()}


def load(path: str | Path) -> RunConfiguration:
    """Return the run configuration in the TOML file at `path`.

    Paths in it are relative to it. Files that it names are not looked at:
    `configuration.ensemble.check()` does that.

    Raises
    ------
    RequestError
        If the file cannot be read, is not TOML, or a key is unknown, missing or wrong; names key,
        file and line.
    """
    return _build(read_document(path), Path(path).parent.absolute())


def from_description(
    description: Mapping[str, Any], options: FarmOptions, *, name: str
) -> RunConfiguration:
    """Return the configuration that `RunConfiguration.describe` described.

    Parameters
    ----------
    description
        Its mapping.
    options
        What is asked of the farm.
    name
        Where the description stands, for errors.

    Raises
    ------
    RequestError
        If it was altered, or written by an hpcflow that knew other keys.
    """
    table = msgspec.to_builtins(options)
    values = {
        **description,
        "farm": {key: value for key, value in table.items() if value is not None},
    }
    return _build(Document(name=name, values=values), Path("/"))


def _build(document: Document, base: Path) -> RunConfiguration:
    kind = document.values.get("ensemble")
    ensemble: Ensemble
    match kind:
        case "command":
            from hpcflow.ensembles.command import CommandConfiguration, CommandEnsemble

            tables, options = _tables(document, CommandConfiguration)
            ensemble = CommandEnsemble.from_configuration(tables, base)
        case "openmm":
            from hpcflow.ensembles.openmm import OpenMMConfiguration, OpenMMEnsemble

            tables_, options = _tables(document, OpenMMConfiguration)
            ensemble = OpenMMEnsemble.from_configuration(tables_, base)
        case None:
            rule = f"it does not say which ensemble; known: {', '.join(KINDS)}"
            raise document.error((), rule, 'Begin it with a line such as ensemble = "command"')
        case _:
            rule = f"there is no ensemble {kind!r}; {nearest(str(kind), KINDS)}"
            raise document.error(("ensemble",), rule, "Name one of them")
    return RunConfiguration(kind=kind, ensemble=ensemble, options=options)


def _tables(document: Document, type_: type[_Tables]) -> tuple[_Tables, FarmOptions]:
    """Return an ensemble's own tables, and the farm's, from one strict reading of the whole."""
    whole: Any = document.as_type(
        msgspec.defstruct(
            type_.__name__,
            [("ensemble", str), ("farm", FarmOptions, FarmOptions())],
            bases=(type_,),
            kw_only=True,
            forbid_unknown_fields=True,
        )
    )
    own = {name: getattr(whole, name) for name in type_.__struct_fields__}
    return type_(**own), whole.farm
