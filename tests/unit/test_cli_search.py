"""``saeflow search`` on the bundled Llama model, with a bank whose feature of a topic is planted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from saeflow.cli import main
from saeflow.cli_search import TOKEN_HOOKS
from saeflow.config.dictionaries import TokenHook
from saeflow.models.codi import CodiModel
from saeflow.models.directories import load_directory
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.storage import CONFIG, save_bank
from saeflow.studies.scaling.prompt_reading import read_prompts
from saeflow.studies.scaling.search_baselines import difference_of_means
from tests.conftest import ROOT

Capture = pytest.CaptureFixture[str]
MODEL = ROOT / "resources" / "models" / "llama"
MEDICINE = [
    "The doctor gave the patient a pill for the fever.",
    "A nurse checked the patient at the hospital.",
    "The surgeon looked at the wound and the rash.",
    "The clinic had a doctor for every patient.",
    "Her fever fell after the nurse brought the medicine.",
    "The hospital asked the doctor about the infection.",
]
MUSIC = [
    "The band played a song on the stage.",
    "A singer wrote the melody for the guitar.",
    "The violin and the piano played a quiet tune.",
    "The choir had a song for every concert.",
    "Her guitar broke after the drummer played the chorus.",
    "The orchestra asked the singer about the concert.",
]
PLANTED = 5


@pytest.fixture(scope="module")
def model(one_thread: None) -> CodiModel:
    return load_directory(MODEL, "float32", "test")


@pytest.fixture(scope="module")
def bank(model: CodiModel) -> Bank:
    """Random features, and one that reads the direction from music to medicine."""
    generator = torch.Generator().manual_seed(0)
    d_in, d_sae = model.language_model.config.hidden_size, 64
    encoder = torch.randn(1, d_in, d_sae, generator=generator) / d_in
    empty = Bank(
        Recipe("topk", d_sae, 8, hook="resid_post"),
        (Site(2),),
        encoder,
        torch.zeros(1, d_sae),
        torch.zeros(1, d_sae, d_in),
        torch.zeros(1, d_in),
    )
    prompts = MEDICINE + MUSIC
    reading = read_prompts(model, empty, prompts)
    positive = np.arange(len(prompts)) < len(MEDICINE)
    direction = difference_of_means(reading, positive, np.ones(len(prompts), bool))
    projected = reading.activations @ direction
    encoder[0, :, PLANTED] = torch.from_numpy(direction).float()
    empty.b_enc[0, PLANTED] = -float(np.quantile(projected, 0.6))
    return empty


@pytest.fixture(scope="module")
def folder(bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "bank"
    save_bank(bank, path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = tmp_path_factory.mktemp("prompts")
    for name, prompts in (("medicine", MEDICINE), ("music", MUSIC)):
        (path / f"{name}.txt").write_text("\n\n".join(prompts) + "\n", encoding="utf-8")
    return [
        "--positive-file",
        str(path / "medicine.txt"),
        "--negative-file",
        str(path / "music.txt"),
    ]


def search(folder: Path, *arguments: str) -> int:
    return main(["search", "--model", str(MODEL), "--bank", str(folder), *arguments])


def one_sentence(capsys: Capture) -> str:
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


def test_planted_feature_comes_first(folder: Path, files: list[str], capsys: Capture) -> None:
    assert search(folder, *files, "--top", "3") == 0
    text = capsys.readouterr().out
    assert "64 features; 6 positive and 6 negative prompts" in text
    assert "document, max" in text
    lines = text.splitlines()
    head = next(number for number, line in enumerate(lines) if "stability" in line)
    place, feature, auroc, *_ = lines[head + 1].split()
    assert (place, feature) == ("1", str(PLANTED))
    assert float(auroc) >= 0.75
    assert "without the SAE, on half B: difference of means" in text
    # Three and three prompts are held out, or two and four: no p-value can be small.
    assert "note: With" in text
    assert "no p-value is below" in text
    assert "published" not in text


@pytest.mark.parametrize(
    ("extra", "level"),
    [
        ([], "document_max"),
        (["--pooling", "mean"], "document_mean"),
        (["--level", "token"], "token"),
    ],
)
def test_json_holds_the_same_and_is_repeatable(
    folder: Path, files: list[str], extra: list[str], level: str, capsys: Capture
) -> None:
    texts = []
    for _ in range(2):
        assert search(folder, *files, "--json", "--published", "--seed", "1", *extra) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    found = json.loads(texts[0])
    rows = [row for row in found["features"] if row["mode"] == "calibrated"]
    assert {row["level"] for row in rows} == {level}
    own = [row for row in rows if row["control"] == "none"]
    assert len(own) == 10
    assert PLANTED in {row["feature"] for row in own}
    assert own[0]["tokens"]
    assert {row["control"] for row in rows} == {"none", "difference_of_means", "words", "length"}
    published = {row["score"] for row in found["features"] if row["mode"] == "published"}
    assert {"local_min_max", "rank", "cohens_d"} <= published
    assert {row["half"] for row in found["prompts"]} == {"A", "B"}
    assert [row["content"] for row in found["prompts"]] == MEDICINE + MUSIC
    assert found["site"] == "layer2"


def test_few_prompts_get_published_scores_alone(folder: Path, capsys: Capture) -> None:
    given = ["--positive", *MEDICINE[:3], "--positive", MEDICINE[0].upper()]
    assert search(folder, *given, "--negative", *MUSIC, "--top", "2") == 0
    text = capsys.readouterr().out
    assert "note: 1 repeated prompts were left out." in text
    assert "note: 3 positive and 6 negative prompts are too few to hold any out" in text
    assert "published, local_min_max, first 35 tokens of the prompts that chose them:" in text
    assert "half B" not in text
    assert search(folder, *given, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["half"] for row in found["prompts"]} == {"none"}
    assert {row["mode"] for row in found["features"]} == {"published"}
    # Without negative prompts Cohen's d is not defined.
    assert "cohens_d" not in {row["score"] for row in found["features"]}


def test_prompts_of_other_lengths_are_told(folder: Path, capsys: Capture) -> None:
    short = [" ".join(text.split()[:2]) for text in MUSIC]
    assert search(folder, "--positive", *MEDICINE, "--negative", *{*short, "We sang", "I hum"}) == 0
    text = capsys.readouterr().out
    assert "length alone tells them apart" in text


def test_bank_of_the_workflow_is_checked_and_one_of_others_needs_a_hook(
    bank: Bank, folder: Path, files: list[str], tmp_path: Path, capsys: Capture
) -> None:
    config = json.loads((folder / "layer2" / CONFIG).read_text())
    del config["metadata"]["saeflow"]
    foreign = tmp_path / "foreign"
    save_bank(bank, foreign)
    (foreign / "layer2" / CONFIG).write_text(json.dumps(config))
    assert search(foreign, *files) == 1
    assert "--hook" in one_sentence(capsys)
    assert search(foreign, *files, "--hook", "resid_post", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["features"][0]["feature"] == PLANTED
    assert get_args(TokenHook) == TOKEN_HOOKS


def test_layer_of_a_bank_of_several(
    bank: Bank, files: list[str], tmp_path: Path, capsys: Capture
) -> None:
    weights = {name: torch.cat([each, each]) for name, each in bank.weights.items()}
    save_bank(Bank(bank.recipe, (Site(1), Site(2)), **weights), tmp_path / "two")
    assert search(tmp_path / "two", *files) == 1
    assert "of the layers 1, 2; expected one of them as --layer" in one_sentence(capsys)
    assert search(tmp_path / "two", *files, "--layer", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["site"] == "layer2"
    assert search(tmp_path / "two", *files, "--layer", "3") == 1
    assert "no SAE for layer3" in one_sentence(capsys)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "No positive prompt is given"),
        (["--positive", " "], "positive prompt 1 is empty"),
        (["--positive", "x", "--negative", "X"], "'x' is positive and negative"),
        (["--positive-file", "absent.txt"], "absent.txt does not exist"),
    ],
)
def test_what_cannot_be_searched_by_is_told(
    folder: Path, arguments: list[str], told: str, capsys: Capture
) -> None:
    assert search(folder, *arguments) == 1
    assert told in one_sentence(capsys)


def test_missing_model_and_bank_are_told(
    folder: Path, files: list[str], tmp_path: Path, capsys: Capture
) -> None:
    assert search(tmp_path / "absent", *files) == 1
    assert f"{tmp_path / 'absent'} does not exist" in one_sentence(capsys)
    absent = ["search", "--model", str(tmp_path / "no model"), "--bank", str(folder), *files]
    assert main(absent) == 1
    assert "no model does not exist" in one_sentence(capsys)
    (folder.parent / "damaged").mkdir(exist_ok=True)
    assert search(folder.parent / "damaged", *files) == 1
    assert "holds no SAE" in one_sentence(capsys)


@pytest.mark.parametrize("arguments", [["--top", "0"], ["--permutations", "5"], ["--top", "x"]])
def test_impossible_numbers_are_refused(
    folder: Path, arguments: list[str], capsys: Capture
) -> None:
    with pytest.raises(SystemExit) as end:
        search(folder, "--positive", "x", *arguments)
    assert end.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_help_has_an_example(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as end:
        main(["search", "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "example:\n  saeflow search --model resources/models/llama" in text
    assert "held out" in text
