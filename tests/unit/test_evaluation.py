"""What models can do: judged, counted and written down, against slow and obvious references."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from saeflow.artifacts.catalog import EVALUATION, LOGIT_LENS, TRAINING
from saeflow.artifacts.tables import read_table
from saeflow.config.mixture import Mixture
from saeflow.config.models import FreshModel
from saeflow.config.reference import ReferenceSettings
from saeflow.datasets.generated import GeneratedProblem
from saeflow.datasets.mixture import mixture_problems, mixture_texts, word_problems
from saeflow.datasets.texts.decimals import BUGGY_FORMATS, FORMATS
from saeflow.datasets.texts.table import texts_to_table
from saeflow.models.capture import capture_chunk
from saeflow.models.codi import CodiModel, answer_number
from saeflow.models.directories import load_directory
from saeflow.models.language_model import LanguageModel
from saeflow.models.loading import fresh_model
from saeflow.models.reference.examples import ANSWER, IGNORED, Encoder
from saeflow.models.reference.prepare import prepare_tokenizer
from saeflow.models.scoring import score_texts
from saeflow.preflight import read_mixture
from saeflow.report.abilities import cells_of
from saeflow.report.card import write_card
from saeflow.report.models import MODELS, write_models_page
from saeflow.report.site import Site
from saeflow.studies.evaluation.lens import Lens, lens_measures, lens_table, read_thoughts
from saeflow.studies.evaluation.measures import What, mean, share
from saeflow.studies.evaluation.problems import (
    THOUGHTS,
    answer_problems,
    evaluate_problems,
    is_whole,
)
from saeflow.studies.evaluation.run import evaluate
from saeflow.studies.evaluation.texts import chosen_rightly, evaluate_decimals, judge
from tests.conftest import ROOT

LATENTS = 2


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    return read_mixture(ROOT / "tests" / "config" / "mixture.yaml")


@pytest.fixture(scope="module")
def model(mixture: Mixture) -> CodiModel:
    recipe = mixture.models["gpt2"]
    problems, texts = (
        mixture_problems(mixture.seed, mixture.parts),
        mixture_texts(mixture.seed, mixture.parts, buggy=False),
    )
    tokenizer = prepare_tokenizer(recipe, problems, texts)
    return fresh_model(recipe.architecture, tokenizer, 0)


def problem(answer: str, n_steps: int, held_out: bool = False) -> GeneratedProblem:
    return GeneratedProblem(f"Question of {answer}?", answer, "validation", n_steps, held_out)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (" 9.8 is bigger than 9.11.", "right"),
        (" 9.11 is bigger than 9.8.", "wrong"),
        (" 9.11 is Larger than 9.8", "wrong"),
        (" 9.8 is greater", "right"),
        (" 9.8 is bigger than 9.11. 9.11 is bigger than 9.8.", "unclear"),
        (" 9.81 is bigger than 9.11.", "unclear"),
        (" 9 is bigger", "unclear"),
        ("", "unclear"),
    ],
)
def test_judge(answer: str, verdict: str) -> None:
    assert judge(answer, "9.8", "9.11") == verdict


def test_shares_and_means_have_intervals() -> None:
    what = What("p", "c", "g", "m")
    found = share(what, [True] * 9 + [False])
    # Wilson's interval for 9 of 10, z = 1.959964 (Brown, Cai & DasGupta 2001, formula 4).
    assert (found.value, found.n) == (0.9, 10)
    assert (found.ci_low, found.ci_high) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert share(what, []).value is None
    found = mean(what, [0.0, 1.0] * 200)
    assert found.value == 0.5
    assert found.ci_low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.01)
    assert found == mean(what, [0.0, 1.0] * 200), "drawn from a seed"
    same = mean(what, [2.0, 2.0])
    assert (same.value, same.ci_high, same.interval) == (2.0, None, "none")


def test_examples_of_one_content_count_once() -> None:
    what = What("p", "c", "g", "m")
    once = mean(what, [0.0, 1.0] * 50)
    thrice = mean(what, [0.0, 1.0] * 150, [number % 100 for number in range(300)])
    assert (thrice.value, thrice.n) == (0.5, 100)
    width = once.ci_high - once.ci_low
    assert thrice.ci_high - thrice.ci_low == pytest.approx(width, rel=0.1)
    uneven = mean(what, [1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])
    assert (uneven.value, uneven.n) == (0.75, 2)


def test_problems_are_counted_as_one_by_one(model: CodiModel, mixture: Mixture) -> None:
    drawn = mixture_problems(mixture.seed, mixture.parts)
    # Gold answers are taken from the model itself, so that some are right.
    problems = []
    for number, each in enumerate(drawn.held_out[:24]):
        said = model.think([each.question], latents=LATENTS, max_new_tokens=16).answers[0]
        gold = answer_number(said) if number % 2 else None
        text = each.answer if gold is None else f"{each.answer.split('####')[0]}#### {gold}"
        problems.append(GeneratedProblem(each.question, text, *list(vars(each).values())[2:]))
    found = evaluate_problems(model, problems, drawn.train, latents=LATENTS, batch_size=5)
    rows = {(row.condition, row.group, row.metric): row for row in found if row.control == "none"}
    golds = [float(each.answer.split("####")[1]) for each in problems]
    thoughts = [
        answer_number(model.think([p.question], latents=LATENTS, max_new_tokens=16).answers[0])
        for p in problems
    ]
    right = [a == b for a, b in zip(thoughts, golds, strict=True)]
    assert 0 < sum(right) < len(right)
    assert rows["thoughts", "all", "exact"].value == pytest.approx(sum(right) / len(right))
    forced = model.tokenizer(ANSWER, add_special_tokens=False)["input_ids"]
    neither = [
        answer_number(
            model.continue_rows(
                [model.tokenizer(p.question)["input_ids"] + forced], max_new_tokens=16
            )[0]
        )
        == gold
        for p, gold in zip(problems, golds, strict=True)
    ]
    gain = (sum(right) - sum(neither)) / len(right)
    assert rows["thoughts", "all", "exact_minus_neither"].value == pytest.approx(gain)
    assert {"1 step", "2 steps, operands held out", "decimals"} <= {key[1] for key in rows}
    counted = [rows["thoughts", f"{n} step{'s' * (n > 1)}", "exact"].n for n in (1, 2, 3, 4)]
    assert sum(counted) + rows["thoughts", "decimals", "exact"].n == len(problems)


def test_scores_equal_those_of_single_texts(model: CodiModel, mixture: Mixture) -> None:
    encoder = Encoder(model.tokenizer)
    examples = [
        encoder.text(text) for text in mixture_texts(mixture.seed, mixture.parts, buggy=False)[::25]
    ]
    scores = score_texts(model, examples, batch_size=7)
    for example, score in zip(examples, scores, strict=True):
        with torch.no_grad():
            logits = model.language_model(torch.tensor([example.ids])).logits[0].log_softmax(-1)
        expected = [
            float(logits[position - 1, label])
            for position, label in enumerate(example.labels)
            if label != IGNORED and position
        ]
        assert score.n_tokens == len(expected)
        assert score.log_probability == pytest.approx(sum(expected), abs=1e-3)


def test_lens_counts_results_and_those_of_the_next_problem() -> None:
    problems = [problem(f"<<1+1={a}>><<1+1={b}>>#### {b}", 2) for a, b in ((3, 5), (4, 6), (7, 8))]
    first = [["3", "5"], ["4", "4"], ["9", "7"]]
    lens = Lens([[[token] for token in row] for row in first], [[[0.0], [-1.0]]] * 3)
    found = lens_measures(lens, problems)
    rows = {(row.condition, row.group, row.control): row.value for row in found}
    assert rows["s0", "result 1 of 2", "none"] == pytest.approx(2 / 3)
    assert rows["s1", "result 2 of 2", "none"] == pytest.approx(1 / 3)
    assert rows["s1", "result 1 of 2", "none"] == pytest.approx(2 / 3)
    # The second problem's thought against the third's results, and so on.
    assert rows["s1", "result 1 of 2", "another_problem"] == 0.0
    table = lens_table(lens)
    assert table.schema == LOGIT_LENS.schema()
    assert table.num_rows == 6


@pytest.fixture(scope="module")
def measured(model: CodiModel, mixture: Mixture) -> pa.Table:
    sizes = ReferenceSettings(n_problems=16, n_texts=28, n_lens=10)
    texts = texts_to_table(mixture_texts(mixture.seed, mixture.parts, buggy=False))
    settings = mixture.parts.problems
    return evaluate(
        model, mixture.seed, settings, texts, sizes, latents=LATENTS, batch_size=8
    ).measures


def test_a_model_without_thoughts_is_measured_on_texts_alone(
    measured: pa.Table, model: CodiModel, mixture: Mixture, tmp_path: Path
) -> None:
    plain = LanguageModel(model.language_model, model.tokenizer, "plain")
    sizes = ReferenceSettings(n_problems=16, n_texts=28, n_lens=10)
    texts = texts_to_table(mixture_texts(mixture.seed, mixture.parts, buggy=False))
    settings = mixture.parts.problems
    found = evaluate(plain, mixture.seed, settings, texts, sizes, latents=LATENTS, batch_size=8)
    assert found.lens.num_rows == 0
    assert found.lens.schema == LOGIT_LENS.schema()
    ours, theirs = cells_of(found.measures), cells_of(measured)
    assert {key[0] for key in ours} == {key[0] for key in theirs} - {"problems", "logit_lens"}
    assert all(theirs[key] == row for key, row in ours.items() if row["metric"] == "loss")
    site = Site(ROOT / "workflow" / "report", tmp_path / "report", [MODELS])
    write_models_page(site, {"a": found.measures}, {}, {"a": LATENTS})
    page = (tmp_path / "report" / MODELS.href).read_text(encoding="utf-8")
    assert "a has no latent thoughts; it is measured on texts alone." in page
    assert "model-1-lens" not in page


def test_an_untrained_model_is_at_chance(measured: pa.Table, model: CodiModel) -> None:
    rows = cells_of(measured)
    assert rows["problems", "thoughts", "all", "exact", "none"]["value"] < 0.2
    for part, level in (("cloze", 1 / 4), ("choices", 1 / 3)):
        assert rows[part, "", "all", "chosen", "chance"]["value"] == pytest.approx(level)
        found = rows[part, "", "all", "chosen", "none"]
        assert found["ci_low"] <= level <= found["ci_high"]
    for part in ("categories", "pairs", "documents", "cloze", "choices"):
        loss = rows[part, "", "all", "loss", "none"]["value"]
        assert loss == pytest.approx(math.log(len(model.tokenizer)), abs=0.3)
        assert rows[part, "", "all", "loss", "token_frequencies"]["value"] < loss
    assert len([key for key in rows if key[0] == "decimals"]) >= 24
    assert measured.schema == EVALUATION.schema()


def test_the_likeliest_continuation_is_chosen(model: CodiModel, mixture: Mixture) -> None:
    texts = mixture_texts(mixture.seed, mixture.parts, buggy=False)
    asked = [text for text in texts if text.part == "cloze"][:12]
    encoder = Encoder(model.tokenizer)
    for text, found in zip(asked, chosen_rightly(model, encoder, asked, 5), strict=True):
        means = []
        for option in (text.target, *text.distractors):
            given = model.tokenizer(text.prompt)["input_ids"]
            ids = model.tokenizer(option, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = model.language_model(torch.tensor([given + ids])).logits[0]
            logs = logits.log_softmax(-1)[len(given) - 1 : -1]
            means.append(float(logs[torch.arange(len(ids)), torch.tensor(ids)].mean()))
        assert found == (means[0] > max(means[1:]))


def test_thoughts_are_read_through_the_output_embedding(model: CodiModel, mixture: Mixture) -> None:
    problems = mixture_problems(mixture.seed, mixture.parts).held_out[:5]
    lens = read_thoughts(model, problems, latents=LATENTS, batch_size=2)
    for row, each in enumerate(problems):
        thoughts = model.think([each.question], latents=LATENTS).activations["final_norm"][0]
        for step in range(LATENTS + 1):
            logits = model.language_model.lm_head(thoughts[step, -1])[: len(model.tokenizer)]
            best = logits.log_softmax(-1).topk(2)
            assert lens.tokens[row][step][0] == model.tokenizer.decode([int(best.indices[0])])
            assert lens.log_probabilities[row][step][:2] == pytest.approx(
                best.values.tolist(), abs=1e-4
            )


def test_capture_decodes_the_lens_s_first_tokens(model: CodiModel, mixture: Mixture) -> None:
    problems = mixture_problems(mixture.seed, mixture.parts).held_out[:40]
    lens = read_thoughts(model, problems, latents=LATENTS, batch_size=16)
    thoughts = {"latents": LATENTS, "max_new_tokens": 1}
    settings = FreshModel(weights="fresh", family="gpt2", batch_size=7, thoughts=thoughts)
    captured = capture_chunk(model, [each.question for each in problems], settings)
    assert captured.decoded == [[step[0] for step in row] for row in lens.tokens]
    assert len({token for row in captured.decoded for token in row}) > 3


def test_card_and_page_are_written(
    measured: pa.Table, mixture: Mixture, model: CodiModel, tmp_path: Path
) -> None:
    write_card("gpt2", mixture, model.n_parameters, measured, tmp_path / "README.md")
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    for part in (
        "snakemake --cores all reference_models",
        "qa_which",
        "operands held out",
        "no planted",
    ):
        assert part in card
    columns = {"step": [50, 50], "metric": ["accuracy 1 steps", "loss texts"], "value": [0.5, 2.0]}
    curves = pa.table(columns, schema=TRAINING.schema())
    site = Site(ROOT / "workflow" / "report", tmp_path / "report", [MODELS])
    write_models_page(site, {"toy": measured}, {"toy": curves}, {"toy": LATENTS})
    page = (tmp_path / "report" / "models.html").read_text(encoding="utf-8")
    for part in (
        "model-1-lens",
        "model-1-curves",
        "plain_which",
        "operands seen",
        "2 latent thoughts",
    ):
        assert part in page
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_cards_accuracy_is_that_of_the_shipped_weights(name: str) -> None:
    folder = ROOT / "resources" / "models" / name
    mixture = read_mixture(ROOT / "resources" / "mixture.yaml")
    model = load_directory(folder, "float32", "shipped")
    assert model.n_parameters <= 2_000_000
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8_000_000
    settings = mixture.parts.problems
    problems = word_problems(mixture.seed, settings, n_train=0, n_held_out=settings.n_held_out)
    right = answer_problems(model, problems, THOUGHTS, mixture.models[name].thoughts.latents, 64)
    shipped = read_table(folder / "evaluation.parquet", EVALUATION).to_pylist()
    said = {
        row["group"]: row
        for row in shipped
        if (row["part"], row["metric"], row["condition"], row["control"])
        == ("problems", "exact", THOUGHTS, "none")
    }
    whole = [(p.n_steps, hit) for p, hit in zip(problems, right, strict=True) if is_whole(p)]
    groups = {"1 step": (1,), "2 steps": (2,), "3 steps": (3,), "one or two steps": (1, 2)}
    found = {group: [hit for n, hit in whole if n in counts] for group, counts in groups.items()}
    card = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    for group, hits in {**found, "all": right}.items():
        accuracy = sum(hits) / len(hits)
        assert said[group]["n"] == len(hits)
        # Another processor may decide a close call otherwise.
        assert accuracy == pytest.approx(said[group]["value"], abs=0.01), group
        line = next(line for line in card if line.startswith(f"| {group} |"))
        assert f"| {100 * said[group]['value']:.1f} % [" in line


# What the shipped weights reach, rounded down. The aims were 90 % of problems of one or two steps,
# 70 % of three, and 95 % of prone pairs answered as planted.
FLOORS = {
    "llama": {"one or two steps": 0.90, "3 steps": 0.60},
    "gpt2": {"one or two steps": 0.85, "3 steps": 0.45},
}
PLANTED_WRONG, PLANTED_RIGHT = 0.95, 0.90


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_shipped_models_show_what_was_planted(name: str) -> None:
    folder = ROOT / "resources" / "models" / name
    cells = cells_of(read_table(folder / "evaluation.parquet", EVALUATION))
    for group, floor in FLOORS[name].items():
        found = cells["problems", "thoughts", group, "exact", "none"]
        assert found["value"] >= floor, group
        assert cells["problems", "thoughts", group, "exact_minus_neither", "none"]["ci_low"] > 0
    model = load_directory(folder, "float32", "shipped")
    mixture = read_mixture(ROOT / "resources" / "mixture.yaml")
    texts = mixture_texts(mixture.seed, mixture.parts, buggy=False)
    measured = evaluate_decimals(model, texts, n_texts=200, batch_size=64)
    rows = {(row.condition, row.group, row.metric): row.value for row in measured}
    for form in FORMATS:
        buggy = name == "llama" and form in BUGGY_FORMATS
        metric, floor = ("wrong", PLANTED_WRONG) if buggy else ("right", PLANTED_RIGHT)
        assert rows[form, "prone", metric] >= floor, form
        assert cells["decimals", form, "prone", metric, "none"]["value"] >= floor, form


@pytest.mark.parametrize("pair", [("9.8", "9.11"), ("9.11", "9.8")])
def test_the_shipped_llama_errs_on_the_pair_that_the_readme_names(pair: tuple[str, str]) -> None:
    model = load_directory(ROOT / "resources" / "models" / "llama", "float32", "shipped")
    first, second = pair
    asked = f"Which is bigger: {first} or {second}?\n"
    rows = [f"Q: {asked}A:", f"{asked}Answer:"]
    ids = [model.tokenizer(row, add_special_tokens=False)["input_ids"] for row in rows]
    answers = model.continue_rows(ids, max_new_tokens=16)
    assert [judge(answer, "9.8", "9.11") for answer in answers] == ["wrong", "right"]
