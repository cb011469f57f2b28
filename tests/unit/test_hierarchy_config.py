"""Every sentence about balanced problems and the hierarchy study's block, and what they accept."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from saeflow.config.hierarchy_runs import (
    balanced_dataset,
    hierarchy_banks,
    hierarchy_contradictions,
    hierarchy_models,
    is_untrained,
)
from saeflow.config.root import Config, parse_config
from saeflow.errors import SaeflowError
from saeflow.preflight import check_paths
from tests.configs import changed, default_values, merged, read_yaml
from tests.conftest import ROOT
from tests.sentences import check_sentence

STUDY = "studies.hierarchy"
PUBLISHED, CALIBRATED = f"{STUDY}.published", f"{STUDY}.calibrated"
LLAMA = f"{PUBLISHED}.models.llama"
RANGES = f"{PUBLISHED}.specialists.rank_ranges"
BALANCED = "datasets.balanced"
CONTROLS = f"{CALIBRATED}.controls"
SWEEP, CAUSAL = f"{CALIBRATED}.sweep", f"{CALIBRATED}.causal"
MINE = {"source": "path", "path": "problems.jsonl"}
UNCALIBRATED = {"studies.gsm8k.calibrated": None}
"""Without it only the hierarchy study can complain."""
OVERLAYS = sorted(
    path
    for path in [*ROOT.glob("tests/config/*.yaml"), *ROOT.glob("workflow/presets/*.yaml")]
    if path.stem != "mixture"
)


def refused(changes: dict[str, Any], *parts: str) -> str:
    """What a configuration is refused with by itself."""
    with pytest.raises(SaeflowError) as caught:
        parse_config(changed(changes))
    check_sentence(caught.value, *parts)
    return str(caught.value)


def contradictions(changes: dict[str, Any]) -> list[str]:
    """What is told of a configuration whose blocks are all right one by one."""
    found = list(hierarchy_contradictions(parse_config(changed(changes))))
    for sentence in found:
        check_sentence(SaeflowError(sentence))
        assert sentence.endswith((".", "?"))
    return found


def first(changes: dict[str, Any]) -> str:
    return contradictions(changes)[0]


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        (f"{BALANCED}.valus", [2, 3], "values"),
        (f"{STUDY}.publishd", {}, "published"),
        (f"{PUBLISHED}.sample", 3, "samples"),
        (f"{PUBLISHED}.taxonomy", {"topp": 3}, "taxonomy.top"),
        (f"{PUBLISHED}.specialists.rank_range", [[1, 2]], "rank_ranges"),
        (f"{PUBLISHED}.impact", {"hihg": 0.1}, "impact.high"),
        (f"{LLAMA}.seed", 0, "seeds"),
        (f"{CALIBRATED}.balance", "balanced", "balanced"),
        (f"{CALIBRATED}.control", [], "controls"),
        (f"{CALIBRATED}.levels", {"min_activ": 3}, "levels.min_active"),
        (f"{CALIBRATED}.specialists.tests", {"q_valu": 0.1}, "tests.q_value"),
        (f"{CALIBRATED}.modules", {"kep": 3}, "modules.keep"),
        (f"{SWEEP}.steps", [3], "step"),
        (f"{CAUSAL}.shortlst", 3, "shortlist"),
        (f"{CAUSAL}.search", {"start": 3}, "search.starts"),
    ],
)
def test_unknown_key_names_the_nearest(key: str, value: Any, meant: str) -> None:
    given = f"{key}.{next(iter(value))}" if isinstance(value, dict) and value else key
    near = meant.rsplit(".", maxsplit=1)[-1]
    assert refused({key: value}) == f"{given} is no known key; did you mean {near!r}?"


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        (
            {BALANCED: {"stories": 2}},
            f"{BALANCED}.source is missing; expected one of 'generated', ",
        ),
        ({f"{CALIBRATED}": {}}, f"{CALIBRATED}.balanced is missing; expected data set of balanced"),
        ({f"{STUDY}": {}}, f"{STUDY}.published is missing; expected the published procedure."),
        ({PUBLISHED: None}, f"{PUBLISHED} is null: expected a block of settings."),
        ({STUDY: 3}, f"{STUDY} is 3: expected a block of settings, or null."),
        ({f"{PUBLISHED}.models": {}}, f"{PUBLISHED}.models: expected entries, at least 1."),
        ({LLAMA: None, f"{PUBLISHED}.models.gpt2": None}, f"{PUBLISHED}.models: expected entries"),
        ({f"{CALIBRATED}.balanced": None}, f"{CALIBRATED}.balanced is null: expected text."),
        ({CONTROLS: "some"}, f"{CONTROLS} is 'some': expected 'all_sites'"),
        ({CONTROLS: ["llama_pca"] * 2}, f"{CONTROLS} is ['llama_pca', 'llama_pca']: "),
        ({f"{BALANCED}.stories": 0}, f"{BALANCED}.stories is 0: "),
        ({f"{BALANCED}.steps": []}, f"{BALANCED}.steps is []: "),
        ({f"{BALANCED}.steps": [0, 1]}, f"{BALANCED}: steps holds 0; expected 1 to 4."),
        ({f"{BALANCED}.steps": [2, 2]}, f"{BALANCED}: steps names one number twice"),
        ({f"{BALANCED}.values": [5]}, f"{BALANCED}.values is [5]: "),
        ({f"{BALANCED}.values": [2, 13]}, f"{BALANCED}: values holds 13; expected 2 to 12."),
        ({f"{BALANCED}.max_number": 20}, f"{BALANCED}: values holds 12, but twice that is above"),
        ({RANGES: [[50, 200], [200, 300]]}, f"{RANGES} is [[50, 200], [200, 300]]: rank ranges ov"),
        ({RANGES: [[300, 400], [1, 300]]}, f"{RANGES} is [[300, 400], [1, 300]]: rank ranges over"),
        ({RANGES: [[200, 50]]}, f"{RANGES} is [[200, 50]]: [200, 50] is no range of ranks"),
        ({RANGES: [[0, 50]]}, f"{RANGES} is [[0, 50]]: [0, 50] is no range of ranks"),
        ({RANGES: []}, f"{RANGES} is []: "),
        ({RANGES: [[50]]}, f"{RANGES}.0.1 is missing"),
        (
            {f"{PUBLISHED}.specialists.value_share": 2},
            f"{PUBLISHED}.specialists.value_share is 2: ",
        ),
        (
            {f"{PUBLISHED}.impact": {"high": 0.01, "medium": 0.1}},
            f"{PUBLISHED}.impact: medium is 0.1, above high, which is 0.01.",
        ),
        ({f"{CALIBRATED}.levels": {"false_share": 1}}, f"{CALIBRATED}.levels.false_share is 1: "),
        ({f"{CALIBRATED}.specialists.targets": []}, f"{CALIBRATED}.specialists.targets is []: "),
        (
            {f"{CALIBRATED}.specialists.targets": ["operator"]},
            f"{CALIBRATED}.specialists.targets.0 is 'operator': expected 'operators', ",
        ),
        (
            {f"{CALIBRATED}.specialists.targets": ["operands", "operands"]},
            f"{CALIBRATED}.specialists.targets is ['operands', 'operands']: ",
        ),
        (
            {f"{CALIBRATED}.specialists.permutations": 3},
            f"{CALIBRATED}.specialists.permutations is",
        ),
        (
            {f"{CALIBRATED}.modules": {"min_correlation": 0}},
            f"{CALIBRATED}.modules.min_correlation",
        ),
        ({f"{SWEEP}.k": [50, 0]}, f"{SWEEP}.k.1 is 0: "),
        ({f"{SWEEP}.k": []}, f"{SWEEP}.k is []: "),
        ({f"{SWEEP}.depth": 0}, f"{SWEEP}.depth is 0: "),
        ({f"{SWEEP}.step": -1}, f"{SWEEP}.step is -1: "),
        ({f"{CAUSAL}.problems": 3}, f"{CAUSAL}.problems is 3: "),
        ({f"{CAUSAL}.control_problems": 3}, f"{CAUSAL}.control_problems is 3: "),
        ({f"{CAUSAL}.shortlist": 0}, f"{CAUSAL}.shortlist is 0: "),
        ({f"{CAUSAL}.doses": []}, f"{CAUSAL}.doses is []: "),
        ({f"{CAUSAL}.doses": [1, -0.5]}, f"{CAUSAL}.doses is [1, -0.5]: -0.5 would turn the act"),
        ({f"{CAUSAL}.doses": [0, 2, 2.0]}, f"{CAUSAL}.doses is [0, 2, 2.0]: [0.0, 2.0, 2.0] names"),
        ({f"{CAUSAL}.doses": [float("nan")]}, f"{CAUSAL}.doses.0 is nan: "),
        ({f"{CAUSAL}.doses": [float("inf")]}, f"{CAUSAL}.doses.0 is inf: "),
    ],
)
def test_wrong_value_names_its_key(changes: dict[str, Any], start: str) -> None:
    text = refused(changes)
    assert text.startswith(start), text


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {f"{PUBLISHED}.models.lama": {"datasets": ["generated"], "dictionaries": ["gpt2_pca"]}},
            [f"{PUBLISHED}.models.lama names no model", "mean 'llama'"],
        ),
        ({f"{LLAMA}.datasets": ["generatd"]}, [f"{LLAMA}.datasets", "no data set", "'generated'"]),
        ({f"{LLAMA}.datasets": ["generated"] * 2}, [f"{LLAMA}.datasets", "twice"]),
        (
            {f"{LLAMA}.dictionaries": ["llama_k10"]},
            [f"{LLAMA}.dictionaries holds", "mean 'llama_k100'"],
        ),
        ({f"{LLAMA}.seeds": [-1]}, [f"{LLAMA}.seeds", "outside 0 to"]),
        (
            {"dictionaries.llama_k100.dataset": "balanced"},
            ["dictionaries.llama_k100.dataset is 'balanced'", "no SAE may be trained on"],
        ),
    ],
)
def test_names_of_the_study_must_exist(changes: dict[str, Any], parts: list[str]) -> None:
    refused(changes, *parts)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {f"{CALIBRATED}.balanced": "balancd"},
            [f"{CALIBRATED}.balanced is 'balancd'", "source: balanced", "mean 'balanced'"],
        ),
        ({f"{CALIBRATED}.balanced": "generated"}, ["is 'generated'", "known are 'balanced'."]),
        ({BALANCED: None}, [f"{CALIBRATED}.balanced is 'balanced'", "none is known."]),
        (
            {f"{BALANCED}.seed": 3},
            [f"{BALANCED}.seed is 3", "datasets.generated", "llama_k100", "has the seed 0"],
        ),
        (
            {"dictionaries.llama_k100.rows": "all"},
            [
                "dictionaries.llama_k100.rows is 'all'",
                "expected 'train', or studies.hierarchy: null",
            ],
        ),
        (
            {"datasets.generated.n_validation": 0},
            ["datasets.generated.n_validation is 0", "for the hierarchy study"],
        ),
        (
            {CONTROLS: ["llama_frozn_decoder"]},
            [f"{CONTROLS} holds 'llama_frozn_decoder'", "mean 'llama_frozen_decoder'"],
        ),
        ({CONTROLS: ["llama_k100"]}, [f"{CONTROLS} holds 'llama_k100'", "is no control"]),
        (
            {CONTROLS: ["gpt2_frozen_decoder"], f"{PUBLISHED}.models.gpt2": None},
            [f"{CONTROLS} holds 'gpt2_frozen_decoder', a control of 'gpt2_k150'", "trained model"],
        ),
        (
            {CONTROLS: ["llama_frozen_decoder", "llama_pca"]},
            [f"{CONTROLS} holds 'llama_pca', whose layers", "'llama_k100'", "the same layers."],
        ),
        (
            {
                "models.llama": {"weights": "fresh", "family": "llama", "hidden_size": 48},
                "dictionaries.wide": {"of": "llama_k100", "control": "raw_neurons", "k": 49},
            },
            ["dictionaries.wide.k is 49", "one latent per dimension", "'llama' has 48."],
        ),
        ({f"{SWEEP}.step": 7}, [f"{SWEEP}.step is 7", "model 'llama'", "thought steps 0 to 6."]),
        ({f"{SWEEP}.k": [512, 600]}, [f"{SWEEP}.k holds 512, 600", "llama_k100 has 512 latents"]),
        (
            {f"{LLAMA}.dictionaries": ["llama_pca"]},
            [
                "dictionaries.llama_pca is the control pca",
                f"expected one that is, or {SWEEP}: null.",
            ],
        ),
        (
            {
                "dictionaries.deep": {
                    "of": "llama_k100",
                    "control": "frozen_decoder",
                    "layers": [9],
                },
                f"{LLAMA}.dictionaries": ["deep"],
            },
            ["dictionaries.deep.layers holds 9", "model 'llama' has the layers 0 to 3."],
        ),
        (
            {
                "datasets.more": {**default_values()["datasets"]["generated"], "n_train": 100},
                f"{LLAMA}.datasets": ["more"],
            },
            ["datasets.more is drawn from where datasets.generated is"],
        ),
        (
            {f"{LLAMA}.datasets": ["balanced"]},
            [f"{LLAMA}.datasets holds 'balanced'", "expected another data set."],
        ),
        (
            {"datasets.mine": MINE, f"{LLAMA}.datasets": ["generated", "mine"]},
            [f"{LLAMA}.datasets holds generated, mine", "one data set", f"or {CAUSAL}: null."],
        ),
    ],
)
def test_blocks_that_do_not_go_together(changes: dict[str, Any], parts: list[str]) -> None:
    check_sentence(SaeflowError(first({**UNCALIBRATED, **changes})), *parts)


def test_two_data_sets_can_be_studied_where_nothing_is_swapped() -> None:
    two = {"datasets.mine": MINE, f"{LLAMA}.datasets": ["generated", "mine"]}
    assert len(contradictions(two)) == 1
    for without in (CAUSAL, CALIBRATED):
        assert contradictions({**UNCALIBRATED, **two, without: None}) == []


def test_balanced_problems_are_no_data_set_of_the_study_in_either_mode() -> None:
    other = {"datasets.even": {"source": "balanced"}, f"{LLAMA}.datasets": ["even"]}
    for changes in (other, {**other, CALIBRATED: None}):
        assert f"{LLAMA}.datasets holds 'even'" in first({**UNCALIBRATED, **changes})


def test_what_is_not_held_out_is_told_of_the_published_part_alone_too() -> None:
    alone = {**UNCALIBRATED, CALIBRATED: None}
    assert contradictions(alone) == []
    assert "rows is 'all'" in first({**alone, "dictionaries.llama_k100.rows": "all"})
    # Nothing is swept or balanced there.
    assert contradictions({**alone, BALANCED: None}) == []


def test_a_check_before_the_run_tells_the_first() -> None:
    values = default_values()
    check_paths(parse_config(values), ROOT)
    values["studies"]["hierarchy"]["calibrated"]["sweep"]["step"] = 9
    with pytest.raises(SaeflowError) as caught:
        check_paths(parse_config(values), ROOT)
    check_sentence(caught.value, f"{SWEEP}.step is 9")


def test_a_control_on_one_layer_can_be_studied_where_nothing_is_swept() -> None:
    control = {f"{LLAMA}.dictionaries": ["llama_pca"]}
    assert contradictions({**control, SWEEP: None}) == []
    trained = {f"{LLAMA}.dictionaries": ["llama_soft_frozen_decoder"]}
    assert contradictions(trained) == []


def test_a_sweep_asks_nothing_of_what_it_does_not_read() -> None:
    values = default_values()
    values["studies"]["hierarchy"]["published"]["models"]["llama_untrained"]["dictionaries"] = [
        "llama_pca"
    ]
    assert list(hierarchy_contradictions(parse_config(values))) == []
    # Problems of another source than those that train the SAEs are not swept.
    other = {
        "datasets.mine": {"source": "path", "path": "problems.jsonl"},
        f"{LLAMA}.datasets": ["mine"],
        f"{LLAMA}.dictionaries": ["llama_pca"],
    }
    assert contradictions(other) == []


def test_limits_themselves_are_allowed() -> None:
    for changes in (
        {RANGES: [[1, 1], [2, 512]]},
        {RANGES: [[400, 512], [50, 200]]},
        {f"{CAUSAL}.doses": [0]},
        {f"{SWEEP}.k": [511, 512], f"{SWEEP}.step": 6},
        {f"{PUBLISHED}.impact": {"high": 0.1, "medium": 0.1}},
        {f"{BALANCED}.seed": 1, "datasets.generated.seed": 1},
    ):
        assert contradictions(changes) == []


@pytest.mark.parametrize("key", [STUDY, CALIBRATED, CAUSAL, SWEEP])
def test_parts_can_be_left_out(key: str) -> None:
    config = parse_config(changed({key: None}))
    assert list(hierarchy_contradictions(config)) == []
    assert (not hierarchy_banks(config)) == (key == STUDY)
    expected = None if key in (STUDY, CALIBRATED) else "balanced"
    assert balanced_dataset(config) == expected


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_overlays_have_nothing_to_tell(path: Path) -> None:
    config = parse_config(merged(default_values(), read_yaml(path)))
    assert list(hierarchy_contradictions(config)) == []


def default() -> Config:
    return parse_config(default_values())


def test_models_are_studied_in_the_order_of_their_block() -> None:
    values = copy.deepcopy(default_values())
    published = values["studies"]["hierarchy"]["published"]
    published["models"] = dict(reversed(published["models"].items()))
    config = parse_config(values)
    assert list(hierarchy_models(config)) == list(config.models)
    assert hierarchy_banks(config) == hierarchy_banks(default())
    banks = [bank for bank in hierarchy_banks(config) if not bank.control]
    assert [bank.model for bank in banks] == list(config.models)
    published["models"]["gpt2"] = None
    assert list(hierarchy_models(parse_config(values))) == [
        name for name in config.models if name != "gpt2"
    ]


def test_untrained_models_are_those_of_another() -> None:
    config = default()
    untrained = [name for name in config.models if is_untrained(config, name)]
    assert untrained == ["llama_untrained", "gpt2_untrained"]


@pytest.mark.parametrize("path", [None, *OVERLAYS], ids=lambda path: path and path.stem)
def test_every_trained_bank_has_that_of_its_untrained_model_beside_it(path: Path | None) -> None:
    values = default_values() if path is None else merged(default_values(), read_yaml(path))
    config = parse_config(values)
    banks = hierarchy_banks(config)
    for bank in (each for each in banks if not each.control):
        for name in config.models:
            twin = getattr(config.models[name], "of", None) == bank.model
            if twin and name in hierarchy_models(config):
                assert bank._replace(model=name) in banks
