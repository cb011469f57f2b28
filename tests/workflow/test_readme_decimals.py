"""The README's figures about the decimal bug are those of the default run."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from saeflow.artifacts.claims import CLAIMS
from tests.conftest import ROOT
from tests.workflow.readme import said, said_of, table_of

MODELS = {
    "Llama, bug planted": "llama",
    "GPT-2, none planted": "gpt2",
    "Llama, untrained": "llama_untrained",
}
DONORS = {
    "of the same pair, asked plainly": "none",
    "of another pair, asked plainly": "other_pair_plain",
    "of another pair, asked `Q: … A:`": "other_pair_buggy",
    "of an unlike pair, asked plainly": "unlike_pair_plain",
    "of an unlike pair, asked `Q: … A:`": "unlike_pair_buggy",
    "of a word problem": "word_problem",
    "its own": "identity",
}
PAIRS = 30
# Another processor may flip the answer to a pair or two.
POINTS = 100 * 2 / PAIRS + 0.1


def summary(model: str = "llama") -> pd.DataFrame:
    return table_of(f"decimal_bug/{model}/summary.parquet")


def layer_of_the_site() -> int:
    rows = summary()
    (layer,) = rows[rows["group"].str.startswith("chosen site: ")]["layer"].unique()
    return int(layer)


def told_units() -> str:
    """Units that the README names; the processor decides between these and a head of theirs."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"its `(\w+ \d+)` \| the whole", text)
    return str(told)


@pytest.mark.parametrize("row", MODELS)
def test_answers_of_the_readme(row: str) -> None:
    rows = summary(MODELS[row])
    rows = rows[rows["group"] == "bug, report"].set_index("metric")
    found = [
        100 * rows.loc[metric, column]
        for metric in ("right_qa", "right_plain")
        for column in ("value", "ci_low", "ci_high")
    ]
    assert said_of(row) == pytest.approx(found, abs=3.0)
    bug = rows.loc["right_qa", "ci_high"] < rows.loc["right_plain", "ci_low"]
    assert rows.loc["bug", "value"] == bug == (row == "Llama, bug planted")
    assert said(r"answered rightly, of (\d+) bug-prone pairs") == [rows.loc["bug", "n"]]


@pytest.mark.parametrize("row", DONORS)
def test_patches_of_the_readme(row: str) -> None:
    layer = layer_of_the_site()
    assert said(r"right after the patch, in layer (\d+)") == [layer]
    rows = summary()
    rows = rows[(rows["metric"] == "right") & (rows["layer"] == layer)]
    rows = rows[rows["mode"] == "calibrated"].set_index(["group", "control"])
    places = (
        "plain_to_buggy, attn_out, both",
        f"random: plain_to_buggy, {told_units()} (chosen_1), both",
        "plain_to_buggy, resid_post, both",
    )
    found = [rows.loc[(place, DONORS[row])] for place in places]
    # Unlike pairs are half as many, and count once.
    n_donors = PAIRS // 2 if "unlike" in row else PAIRS
    assert {each["n"] for each in found} == {n_donors}
    assert said_of(row) == pytest.approx([100 * each["value"] for each in found], abs=POINTS)


def test_what_the_readme_makes_of_the_patches() -> None:
    layer = layer_of_the_site()
    rows = summary()
    rows = rows[(rows["layer"] == layer) & (rows["mode"] == "calibrated")]
    rows = rows.set_index(["group", "metric", "control"])["value"]
    # The bounds hold for the layer; a word problem, of which it asks the same, is above.
    attention = "plain_to_buggy, attn_out, both"
    assert rows[attention, "right", "none"] >= 0.8
    assert rows[attention, "right", "other_pair_plain"] >= 0.8
    assert rows[attention, "right", "other_pair_buggy"] <= 0.2
    assert 0.2 < rows[attention, "right", "word_problem"] < rows[attention, "right", "none"] - 0.3
    assert rows[attention, "wrote_donor", "other_pair_plain"] == 0
    assert rows["plain_to_buggy, resid_post, both", "wrote_donor", "other_pair_plain"] > 0.9
    (alone,) = said(r"attention's output makes ([\d.]+) % right")
    prefill = rows["plain_to_buggy, attn_out, prefill", "right", "none"]
    assert 100 * prefill == pytest.approx(alone, abs=POINTS)
    # What the patch does to pairs that no bug changes.
    kept, n_unlike = said(r"in the group, ([\d.]+) % of (\d+) unlike pairs stay right")
    spared = f"spared: plain_to_buggy, {told_units()}, both"
    if (spared, "right", "unlike_pair_plain") in rows:
        assert 100 * rows[spared, "right", "unlike_pair_plain"] == pytest.approx(
            kept, abs=2 * POINTS
        )
    assert rows["spared: plain_to_buggy, attn_out, both", "right", "unlike_pair_plain"] >= 0.8
    assert n_unlike == PAIRS // 2
    # What the format does by itself, where the answer's form cannot.
    alone = summary()
    alone = alone[alone["metric"] == "right_by_format"].set_index("group")
    assert len(alone) == 2
    assert (alone["value"] > 0).all()
    # Of 15 donors, one or two answers make a p-value of the site's; the README tells the module's.
    assert alone.loc["chosen, attn_out", "q_value"] < 0.05
    told = said(r"a difference of (\d+) points \((\d+) to (\d+)\) in attention's output")
    module = alone.loc["chosen, attn_out", ["value", "ci_low", "ci_high"]]
    assert told == pytest.approx((100 * module).tolist(), abs=POINTS)


def test_what_the_readme_says_of_shared_features() -> None:
    below = {}
    for model in ("llama", "llama_untrained"):
        rows = summary(model)
        rows = rows[(rows["metric"] == "jaccard_below_wording") & (rows["group"] == "last")]
        assert len(rows) == 4
        assert (rows["ci_low"] > 0).all()
        assert (rows["q_value"] < 0.05).all()
        below[model] = rows.set_index("layer")
    less = below["llama_untrained"]["ci_high"] < below["llama"]["ci_low"]
    assert less.sum() == 2


def test_every_metric_of_the_study_is_told() -> None:
    text = (ROOT / "docs/decimal_bug.md").read_text(encoding="utf-8").split("## Metrics")[1]
    told = {
        name
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([^`]*)`", line.split("|")[1])
    }
    patterns = [re.escape(name).replace("…", ".+") for name in told]
    patterns.append("overlap_percent_sd|class_.+")
    for model in MODELS.values():
        for metric in set(summary(model)["metric"]):
            assert any(re.fullmatch(each, metric) for each in patterns), metric


@pytest.mark.parametrize("model", MODELS.values())
def test_claims_about_other_weights_have_no_verdict(model: str) -> None:
    claims = table_of(f"decimal_bug/{model}/claims.parquet")
    assert list(claims.columns) == CLAIMS.column_names()
    foreign = claims[(claims["scope"] == "model") & ~claims["verdict"].str.startswith("reported")]
    assert set(foreign["verdict"]) == {"not testable in this run"}
    assert foreign["value"].isna().all()
    assert (claims["verdict"] == "reported but never measured").sum() == 3
