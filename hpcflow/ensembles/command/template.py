"""Text with named fields, such as `--sequence={sequence}`; braces that are meant are doubled."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from hpcflow.errors import RequestError, hint

_FIELD_NAME = re.compile(r"[^\s{}!:\[\]]+")


@dataclass(frozen=True, slots=True)
class Template:
    """A text whose fields are filled from each input."""

    option: str
    """Where it stands in the configuration, for errors."""
    parts: tuple[tuple[str, str | None], ...]
    """Literal text, each followed by a field's name or by nothing."""

    @classmethod
    def parse(cls, text: str, option: str) -> Template:
        """Return the template that `text` spells.

        Parameters
        ----------
        text
            Literal text with fields in braces; `{{` and `}}` stand for braces.
        option
            Key in the configuration, for the error.

        Raises
        ------
        RequestError
            If a brace is alone, or holds something that is no field name.

        Examples
        --------
        >>> Template.parse("{{{a}}} {b}", "command.arguments").render({"a": "1", "b": "x y"})
        '{1} x y'
        """
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise RequestError(
                f"cannot fill {option} = {text!r}: {str(error).lower()}. Double braces that are"
                " meant literally."
            ) from None
        parts = []
        for literal, name, spec, conversion in parsed:
            if name is not None and (spec or conversion or not _FIELD_NAME.fullmatch(name)):
                raise RequestError(
                    f"cannot fill {option} = {text!r}: {{{name}}} is more than the name of a"
                    " field. Double braces that are meant literally."
                )
            parts.append((literal, name))
        return cls(option, tuple(parts))

    @property
    def names(self) -> Iterator[str]:
        """Names of its fields, in order."""
        return (name for _, name in self.parts if name is not None)

    def check(self, known: Iterable[str]) -> None:
        """Refuse a field that the inputs do not have.

        Raises
        ------
        RequestError
            If there is one; names the nearest that they have.
        """
        for name in self.names:
            if name not in known:
                help_ = hint(name, known)
                raise RequestError(
                    f"cannot fill {{{name}}} in {self.option}: the inputs have no such field;"
                    f" {help_} Correct the name, or double the"
                    " braces if they are meant literally."
                )

    def render(self, values: Mapping[str, str], quote: Callable[[str], str] = str) -> str:
        """Return the text with each field replaced by its value, passed through `quote`."""
        return "".join(
            literal if name is None else literal + quote(values[name])
            for literal, name in self.parts
        )

    def check_unquoted(self) -> None:
        """Refuse fields between quotes: a shell would see the quotes of the value as their end.

        Raises
        ------
        RequestError
            If there is one.
        """
        quote = ""
        for literal, name in self.parts:
            quote = _open_quote(literal, quote)
            if name is not None and quote:
                raise RequestError(
                    f"cannot fill {{{name}}} in {self.option}: it stands between quotes, and every"
                    " value is quoted for the shell already. Take the quotes around it away."
                )


def _open_quote(text: str, quote: str) -> str:
    r"""Return the shell quote that is open after `text`, if `quote` was open before it.

    >>> _open_quote("echo 'it", ""), _open_quote("' \\\"", "'"), _open_quote('"a', "")
    ("'", '', '"')
    """
    characters = iter(text)
    for character in characters:
        if character == "\\" and quote != "'":
            next(characters, None)
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
    return quote
