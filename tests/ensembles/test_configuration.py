"""A run configuration is one TOML file, read strictly; what it describes builds it again."""

from pathlib import Path

import pytest

from hpcflow.ensembles.command import CommandEnsemble
from hpcflow.ensembles.configuration import from_description, load
from hpcflow.ensembles.ensemble import FarmOptions
from hpcflow.errors import RequestError

_CONFIGS = Path(__file__).parents[2] / "configs" / "runs"

_SOUND = """
ensemble = "command"
[farm]
slots = 2
retries = 3
[command]
arguments = ["echo", "{n}"]
[inputs]
csv = "numbers.csv"
"""


def _load(tmp_path: Path, text: str) -> str:
    """Return the refusal of a configuration, less the file's name."""
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(RequestError) as raised:
        load(path)
    return str(raised.value).replace(str(path), "FILE")


@pytest.mark.parametrize("path", sorted(_CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_configuration_that_ships_is_sound(path: Path) -> None:
    assert load(path).describe()["ensemble"] == load(path).kind


def test_a_configuration_is_an_ensemble_and_what_is_asked_of_the_farm(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(_SOUND)
    (tmp_path / "numbers.csv").write_text("n\n1\n2\n3\n")
    configuration = load(tmp_path / "run.toml")
    configuration.ensemble.check()
    assert isinstance(configuration.ensemble, CommandEnsemble)
    assert configuration.ensemble.total == 3
    assert configuration.options == FarmOptions(slots=2, retries=3)


def test_what_is_described_holds_absolute_paths_and_builds_the_same_again(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(_SOUND)
    described = load(tmp_path / "run.toml").describe()
    again = from_description(described, FarmOptions(retries=1), name="run.toml")
    assert described["inputs"] == {"csv": str(tmp_path / "numbers.csv")}
    assert again.describe() == described
    assert again.options == FarmOptions(retries=1)


def test_what_is_asked_of_the_farm_is_no_part_of_what_identifies_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(_SOUND)
    (tmp_path / "b.toml").write_text(_SOUND.replace("retries = 3", "time_limit_s = 9"))
    assert load(tmp_path / "a.toml").describe() == load(tmp_path / "b.toml").describe()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"command"', '"comand"', "FILE, line 2: there is no ensemble 'comand'; did you mean"),
        (
            'ensemble = "command"',
            "",
            "FILE: it does not say which ensemble; known: command, openmm",
        ),
        ("retries", "retrys", "FILE, line 5: farm has no key 'retrys'; did you mean 'retries'?"),
        ("slots = 2", "slots = 0", "FILE, line 4: farm.slots must be an integer >= 1; it is 0."),
        ("[farm]", "[fram]", "FILE, line 3: the file has no key 'fram'; did you mean 'farm'?"),
        ("arguments", "args", "FILE, line 7: command has no key 'args'; did you mean 'arguments'"),
        ("csv", "cvs", "FILE, line 9: inputs has no key 'cvs'; did you mean 'csv'?"),
        ('["echo", "{n}"]', '"echo {n}"', "FILE, line 7: command.arguments must be a list; it is"),
        ("[inputs]\ncsv", "#", "FILE: the file has no key 'inputs', which is required."),
    ],
)
def test_a_wrong_configuration_is_one_error(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert message in _load(tmp_path, _SOUND.replace(old, new))


def test_a_description_that_was_altered_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"cannot read runs/x/run.toml: command has no key 'x'"):
        from_description(
            {"ensemble": "command", "command": {"x": 1}, "inputs": {}},
            FarmOptions(),
            name="runs/x/run.toml",
        )
