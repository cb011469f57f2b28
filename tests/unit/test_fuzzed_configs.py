"""Whatever is written into a configuration: a plan, or one sentence that names the key or the file.

2,000 cases of values and 2,000 of files in `make soak`, a tenth of them otherwise. What is accepted
is planned by Snakemake itself for a few of them.
"""

from __future__ import annotations

import copy
import datetime
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, assume, event, given, settings
from hypothesis import strategies as st
from snakemake.common.configfile import load_configfile

from saeflow.config.calibration import analysed_layers, calibrated_banks
from saeflow.config.hierarchy_runs import hierarchy_banks
from saeflow.config.hub_runs import hub_models
from saeflow.config.root import Config, evaluated_models, parse_config
from saeflow.config.scaling_runs import prompt_files
from saeflow.config.token_banks import captured_hooks
from saeflow.errors import SaeflowError
from saeflow.plan.jobs import planned_jobs
from saeflow.preflight import (
    check_paths,
    input_files,
    read_datasets,
    study_datasets,
    study_dictionaries,
)
from saeflow.sizes.results import Results
from saeflow.yaml_files import check_configuration
from tests.configs import default_values, merged, read_yaml
from tests.conftest import ROOT
from tests.fuzzed import OF_BYTES, Damage, changed_bytes, damages
from tests.sentences import check_sentence
from tests.unit.test_config_messages import JUNK, mutate, places

SOAK = bool(os.environ.get("SAEFLOW_SOAK"))
CASES, PLANS = (2000, 40) if SOAK else (200, 3)
CLASSES = re.compile(
    r"\b\w+(Settings|Dataset|Model|Block|Config)\b|pydantic|<class|(Input|Keys) should"
)
PRESETS = sorted((ROOT / "workflow/presets").glob("*.yaml"))
FILES = (ROOT / "config.yaml", ROOT / "tests/config/smoke.yaml", *PRESETS)
SHORT = {"max_examples": CASES, "phases": (Phase.explicit, Phase.generate, Phase.shrink)}


def overlaid() -> Iterator[tuple[str, dict[str, Any]]]:
    """The default configuration, and what each preset makes of it."""
    for path in FILES:
        over = read_yaml(path)
        yield path.stem, over if path == FILES[0] else merged(default_values(), over)


CONFIGURATIONS = dict(overlaid())
PLACES = {name: list(places(values)) for name, values in CONFIGURATIONS.items()}
ODD = st.one_of(
    JUNK,
    # What YAML makes of 1e-3, 2026-01-01, 1:30, 0o7, ~ and of numbers with underscores.
    st.sampled_from(["1e-3", "0o7", "~", "", " ", "all", "../..", "/", "a/b", "é", "\x00", "\ud800"]),
    st.sampled_from([datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1, 3), b"\xff", 90, 1000]),
    st.sampled_from([[], {}, [[]], [{}], {"of": "llama"}, {1: 2}, {None: 1}, {True: False}, [1, "a"]]),
    st.floats(),
    st.integers(-3, 300),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, most: int = 4) -> dict[str, Any]:
    name = draw(st.sampled_from(list(CONFIGURATIONS)))
    values = copy.deepcopy(CONFIGURATIONS[name])
    hows = st.sampled_from(["delete", "replace", "replace", "rename", "add", "move"])
    for _ in range(draw(st.integers(1, most))):
        place, how = draw(st.sampled_from(PLACES[name])), draw(hows)
        junk = draw(ODD)
        if how == "move":  # another block of the same file
            junk, how = (
                value_at(CONFIGURATIONS[name], draw(st.sampled_from(PLACES[name]))),
                "replace",
            )
        mutate(values, place, how, copy.deepcopy(junk))
    return values


def value_at(values: Any, place: tuple[Any, ...]) -> Any:
    for part in place:
        values = values[part]
    return values


def derived(config: Config) -> None:
    """What the Snakefile asks of a configuration before it builds the graph."""
    check_paths(config, ROOT)
    for name in config.datasets:
        input_files(config.datasets[name], ROOT)
    for dictionary in config.dictionaries:
        analysed_layers(config, dictionary)
    for each in (
        calibrated_banks, hierarchy_banks, hub_models, evaluated_models, prompt_files, read_datasets,
        study_datasets, study_dictionaries,
    ):  # fmt: skip
        each(config)
    for dataset in config.datasets:
        captured_hooks(config, dataset)
    Results(config, ROOT)


def check_plain(error: SaeflowError) -> None:
    check_sentence(error)
    assert not CLASSES.search(str(error)), error
    assert len(str(error)) < 1500, error


@settings(**SHORT)
@given(mutated())
def test_changed_values_give_a_configuration_or_a_sentence(values: dict[str, Any]) -> None:
    try:
        config = parse_config(values)
        derived(config)
    except SaeflowError as error:
        event("told")
        check_plain(error)
    else:
        event("accepted")


LINES = (
    "models: {}", "\tx: 1", "  - a", "key: *none", "a: &a [*a]", "? [a, b]", "on: off", "x: 1e-3",
    "---", "...", "compute: {threads: 2026-13-45}", "compute: {threads: .nan}", "null: 1", "2: 3",
    "x: !!python/name:os.system", "'", "%YAML 9.9", "compute: {threads: " + "9" * 5000 + "}",
    "[" * 1500, "<<: 3", "é: \u2028", "__use_yte__: 3",
)  # fmt: skip


@st.composite
def rewritten(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of configuration whose bytes or lines were changed."""
    path = draw(st.sampled_from(FILES))
    content = path.read_bytes()
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            content = changed_bytes(content, draw(damages(OF_BYTES)))
            continue
        lines = content.decode("utf-8", errors="surrogateescape").split("\n")
        at, how = draw(st.integers(0, len(lines) - 1)), draw(st.sampled_from(HOWS))
        match how:
            case "insert":
                lines.insert(at, draw(st.sampled_from(LINES)))
            case "indent":
                lines[at] = draw(st.sampled_from([" ", "  ", "\t"])) + lines[at]
            case "dedent":
                lines[at] = lines[at].lstrip()
            case "repeat":
                lines.insert(draw(st.integers(0, len(lines))), lines[at])
            case "drop":
                del lines[at]
        content = "\n".join(lines).encode("utf-8", errors="surrogateescape")
    return path.stem, content


HOWS = ("insert", "indent", "dedent", "repeat", "drop")


@settings(**SHORT)
@given(rewritten())
def test_changed_files_give_a_configuration_or_a_sentence(
    tmp_path: Path, case: tuple[str, bytes]
) -> None:
    name, content = case
    path = tmp_path / "changed.yaml"
    path.write_bytes(content)
    try:
        check_configuration(path)
    except SaeflowError as error:
        event("the file is told")
        check_plain(error)
        check_sentence(error, "changed.yaml")
        return
    values = load_configfile(path)  # as Snakemake does; it must not stop at what was accepted
    try:
        derived(parse_config(values if name == "config" else merged(default_values(), values)))
    except SaeflowError as error:
        event("a key is told")
        check_plain(error)
    else:
        event("accepted")


NEARBY = st.one_of(st.integers(1, 60), st.sampled_from([None, "all", 0.5, [0], [1], True, False]))


@st.composite
def nearly(draw: st.DrawFn) -> dict[str, Any]:
    """The smoke configuration with one value that may well be allowed."""
    values = copy.deepcopy(CONFIGURATIONS["smoke"])
    mutate(values, draw(st.sampled_from(PLACES["smoke"])), "replace", draw(NEARBY))
    return values


@settings(max_examples=PLANS, phases=(Phase.explicit, Phase.generate))
@given(nearly())
def test_what_is_accepted_can_be_planned(tmp_path: Path, values: dict[str, Any]) -> None:
    try:
        parse_config(values)
    except SaeflowError:
        assume(False)
    over = tmp_path / "over.yaml"
    over.write_text(yaml.safe_dump(values), encoding="utf-8")
    try:
        assert planned_jobs(ROOT, [], [over], tmp_path / "run").jobs
    except SaeflowError as error:
        check_plain(error)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: 'a' is given again, after line 1"),
        ("a: {x: 1, x: 2}\n", "line 1: 'x' is given again"),
        ("a:\n\tb: 1\n", "line 2: found character '\\t' that cannot start any token"),
        ("a: [1, 2\nb: 3\n", "line 2: "),
        ("- 1\n", "holds a list; expected keys with values"),
        ("", "holds nothing; expected keys"),
        ("a: 2026-13-45\n", "cannot be read as YAML (month must be in 1..12)"),
        ("a: " + "9" * 5000, "cannot be read as YAML"),
        ("[" * 1500, "is nested too deeply"),
        ("a: b\x00\n", "special characters are not allowed"),
        ("a: *b\n", "line 1: found undefined alias"),
        ("a: !!python/name:os.system\n", "could not determine a constructor"),
    ],
    ids=lambda value: value[:12],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SaeflowError) as caught:
        check_configuration(path)
    check_sentence(caught.value, str(path), told)


def test_bytes_and_folders_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(SaeflowError, match=r"x\.yaml is not UTF-8 \(byte 3\)"):
        check_configuration(tmp_path / "x.yaml")
    with pytest.raises(SaeflowError, match="cannot be read: Is a directory"):
        check_configuration(tmp_path)
    (tmp_path / "y.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, x: 2}\nc: *a\n")
    check_configuration(tmp_path / "y.yaml")


def test_damage_of_bytes_is_what_it_is_called() -> None:
    damage = Damage("flip", 0, 0.5, 3, 255, b"ab", 1)
    assert changed_bytes(b"\x00" * 4, damage) == b"\x00\x00\xff\x00"
