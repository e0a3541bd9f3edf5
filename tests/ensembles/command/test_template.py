"""Text with named fields."""

import shlex
import subprocess

import pytest

from hpcflow.ensembles.command.template import Template
from hpcflow.errors import RequestError


def test_doubled_braces_are_literal() -> None:
    template = Template.parse("{{print ${column}}}", "command.arguments")
    assert template.render({"column": "2"}) == "{print $2}"


@pytest.mark.parametrize("text", ["{print $1}", "{}", "{a!r}", "{a:>3}", "{a[0]}", "{", "}", "{a"])
def test_anything_but_a_name_in_braces_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(RequestError, match=r"cannot fill command\.arguments.*[Dd]ouble braces"):
        Template.parse(text, "command.arguments")


def test_an_unknown_field_names_the_nearest() -> None:
    template = Template.parse("--fasta={sequnce}", "command.arguments")
    with pytest.raises(RequestError, match=r"\{sequnce\} in command.arguments.*'sequence'\? "):
        template.check(["sequence", "name"])


@pytest.mark.parametrize("value", ["two words", "$(touch x)", "it's", '"', "; ls", "`ls`", "*"])
def test_a_shell_sees_a_quoted_value_as_one_word(value: str) -> None:
    template = Template.parse("printf %s {value}", "command.shell")
    line = template.render({"value": value}, shlex.quote)
    shown = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)
    assert shown.stdout == value


@pytest.mark.parametrize("text", ["echo '{a}'", 'echo "x {a}"', "echo 'it'\"{a}\"", "'\\' \"{a}"])
def test_a_field_between_quotes_is_refused_because_its_own_quotes_would_end_them(text: str) -> None:
    with pytest.raises(RequestError, match=r"\{a\} in command.shell: it stands between quotes"):
        Template.parse(text, "command.shell").check_unquoted()


@pytest.mark.parametrize("text", ["echo {a}", "echo 'b' {a} \"c\"", "echo it\\'s {a}", '"\\"" {a}'])
def test_a_field_outside_quotes_passes(text: str) -> None:
    Template.parse(text, "command.shell").check_unquoted()
