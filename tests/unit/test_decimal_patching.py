"""Patches of the study of the decimal bug: donors, choices, and what is written down."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from transformers import AutoTokenizer

from saeflow.artifacts.decimal_bug import DECIMAL_ANSWERS, PATCHES
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.decimal_bug import PatchSettings, SubsetSettings
from saeflow.datasets.comparisons.pairs import comparison_pairs, published_pair
from saeflow.datasets.comparisons.prompts import Prompt, comparison_prompts
from saeflow.datasets.texts.decimals import BUGGY_FORMATS, FORMATS, UNEQUAL
from saeflow.interventions.donors import Donor
from saeflow.interventions.patches import Patch
from saeflow.interventions.patching import PatchRun
from saeflow.interventions.units import units_of
from saeflow.models.alignment import BEGIN, align_prompts, prompt_keys
from saeflow.models.candidates import candidate_tokens
from saeflow.models.codi import CodiModel
from saeflow.models.conventions import HookedLayer
from saeflow.models.loading import fresh_model
from saeflow.studies.decimal_bug.choice import choose_layer, choose_site, rank_units
from saeflow.studies.decimal_bug.donors import HalfRuns, exchanged
from saeflow.studies.decimal_bug.names import in_direction
from saeflow.studies.decimal_bug.pairing import (
    other_pairs,
    prone_prompts,
)
from saeflow.studies.decimal_bug.patching import names_only, patch
from tests.conftest import ROOT
from tests.small_models import FAMILIES, settings_of

PROMPTS = comparison_prompts(
    [published_pair("9.8", "9.11"), *comparison_pairs(0, 2000, 6)], list(FORMATS)
)
DONORS = PatchSettings().donors
PATCHING = PatchSettings(pairs=7, random_sets=2, donors=DONORS)
SUBSETS = SubsetSettings(exhaustive=3, orders=2)
FEW = PATCHING.model_copy(update={"donors": ("same_pair_plain",)})
WEIGHTS, N_NEW, LAYERS = (0.5, 1.0), 4, 2


def answers(buggy: bool = True) -> pa.Table:
    rows = [
        {
            "form": each.form,
            "order": each.order,
            "item": each.item,
            "sample": 0,
            "answer": "",
            "verdict": "wrong" if buggy and each.form in BUGGY_FORMATS else "right",
            "fallback": "right",
            "gibberish": False,
            "logit_difference": 0.0,
        }
        for each in PROMPTS
    ]
    return pa.Table.from_pylist(rows, DECIMAL_ANSWERS.schema())


@cache
def small_word_model(family: str) -> CodiModel:
    """Fresh weights behind the reference models' tokenizer, which keeps digits together."""
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "resources" / "models" / "llama")
    made = fresh_model(settings_of(family, num_hidden_layers=LAYERS), tokenizer, seed=1)
    with torch.no_grad():
        for parameter in made.language_model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return made


def tried(
    model: CodiModel, settings: PatchSettings = PATCHING, prompts: list[Prompt] = PROMPTS
) -> pa.Table:
    return patch(
        model, prompts, answers(), settings, SUBSETS, weights=WEIGHTS, max_new_tokens=N_NEW
    )


class Found(NamedTuple):
    family: str
    model: CodiModel
    table: pa.Table
    frame: pd.DataFrame


@pytest.fixture(scope="module", params=FAMILIES)
def found(request: pytest.FixtureRequest) -> Found:
    model = small_word_model(request.param)
    table = tried(model)
    return Found(request.param, model, table, table.to_pandas())


def test_table_fits_its_schema_and_keys_name_rows(found: Found, tmp_path: Path) -> None:
    assert found.table.schema == PATCHES.schema()
    assert not found.frame.duplicated(list(PATCHES.keys)).any()
    provenance = Provenance(config="x")
    write_table(found.table, tmp_path / "patches.parquet", PATCHES, provenance)
    assert len(read_table(tmp_path / "patches.parquet", PATCHES)) == len(found.table)


def test_every_planned_patch_is_done_on_every_pair(found: Found) -> None:
    frame = found.frame
    keys = [name for name in PATCHES.keys if name not in ("form", "order", "item")]
    sizes = frame.groupby(keys).size()
    parts = sizes.index.get_level_values("part")
    own = parts == "own"
    # Unlike pairs, of which there are three, are as many as they are.
    assert set(sizes[~own & (parts != "spared")]) == {7}
    assert set(sizes[parts == "spared"]) == {3}
    assert set(sizes[own]) == {1}
    trials = sizes.reset_index().groupby("part").size()
    # Query heads and blocks, four of each; two groups of heads in a Llama, none of their own in GPT-2.
    single = 10 if found.family == "llama" else 8
    # Each is chosen from; parts of the model, and its whole module, with unrelated donors, too.
    parts = single - 4
    assert trials["choice"] == LAYERS * 3 * 3 * 2 + single + 3 * parts + 2
    # Six donors and the prompt itself in three phases, two means in one; three pairs and one mean.
    assert trials["site"] == 7 * 3 + 2
    assert trials["map"] == 2 * LAYERS * (3 * (7 * 3 + 2) + 4 * single)
    assert trials["blend"] == len(WEIGHTS) + 2
    # The study's own pair: every layer both ways, and what else has the published form.
    assert trials["own"] == 2 * LAYERS + (len(WEIGHTS) + 2 - 1) + 11
    assert set(frame[frame["part"] == "own"]["item"]) == {-1}
    assert set(frame[frame["half"] == "own"]["part"]) == {"own"}
    published = frame[frame["part"] == "published"]
    # In the published form blocks; with aligned tokens whatever has more than three units.
    named = published.groupby(["mode", "kind"])["set"].nunique().to_dict()
    assert named == {
        ("published", "block"): 11,
        ("calibrated", "block"): 11,
        ("calibrated", "head"): 11,
    }
    assert trials["published"] == 33
    assert set(frame[frame["mode"] == "published"]["part"]) == {"blend", "published", "own"}
    assert set(frame[frame["part"] == "subsets"]["set"]) == {""}
    for kind, n_units in (("head", 4), ("kv_group", 2), ("block", 4)):
        some = frame[(frame["part"] == "random") & (frame["kind"] == kind)]
        sets, units = set(some["set"]), some.groupby("set")["units"].first()
        if kind == "kv_group":
            games = frame[(frame["part"] == "subsets") & (frame["kind"] == kind)]
            here = found.family == "llama"
            assert sets == ({"exchanged", "chosen_1", "random_1_0"} if here else set())
            assert set(games["units"]) == ({"", "0", "1", "0,1"} if here else set())
            continue
        random = {f"random_{size}_{number}" for size in (1, 2) for number in (0, 1)}
        assert sets == {"exchanged", "chosen_1", "chosen_2"} | random
        assert units["exchanged"] == ",".join(map(str, range(n_units)))
        assert len({units["random_2_0"], units["random_2_1"], units["chosen_2"]}) == 3
        donors = some[some["set"] == "chosen_2"]["donor"]
        assert set(donors) == {*DONORS, "identity", "mean_plain", "mean_buggy"}


def test_own_activations_and_no_units_change_not_a_bit(found: Found) -> None:
    frame = found.frame
    identity = frame[frame["donor"] == "identity"]
    assert set(identity["direction"]) == {"plain_to_buggy", "buggy_to_plain"}
    nothing = frame[frame["units"] == ""]
    assert len(identity) > 2 * 3 * LAYERS
    assert set(nothing["part"]) == {"subsets"}
    for same in (identity, nothing):
        assert (same["logit_difference"] == same["clean_logit_difference"]).all()
    others = frame[(frame["donor"] == "word_problem") & (frame["kind"] == "attn_out")]
    assert (others["logit_difference"] != others["clean_logit_difference"]).mean() > 0.5
    clean = frame.groupby(["half", "form", "item"])["clean_logit_difference"].nunique()
    assert set(clean) == {1}


def test_rows_are_what_one_prompt_alone_gives(found: Found) -> None:
    model = found.model
    chosen = prone_prompts(PROMPTS, "report", PATCHING.pairs)
    keys = {form: [prompt_keys(model.tokenizer, p) for p in some] for form, some in chosen.items()}
    others = other_pairs(chosen, keys, PATCHING.seed)
    frame = found.frame[found.frame["part"] == "map"]

    def alone(prompt: Prompt) -> PatchRun:
        candidates = candidate_tokens(model.tokenizer, prompt.text, prompt.truth, prompt.other)
        return PatchRun.of(model, [candidates], max_new_tokens=N_NEW)

    for row, kind, units in ((0, "attn_out", None), (3, "head", (2,)), (5, "mlp_out", None)):
        for direction, here in (("plain_to_buggy", "buggy"), ("buggy_to_plain", "plain")):
            target = chosen[here][row]
            for donor, other, numbers in (
                ("same_pair", row, "value"),
                ("other_pair", others[row], "place"),
            ):
                there = "plain" if here == "buggy" else "buggy"
                source = chosen[there][other]
                pairs = align_prompts(model.tokenizer, source, target, numbers=numbers)  # type: ignore[arg-type]
                run = alone(target)
                trial = Patch(Donor.aligned(run, alone(source), [pairs]), 0, kind, units)
                ((_, outcome),) = run.outcomes([trial])
                mine = frame[
                    (frame["direction"] == direction)
                    & (frame["donor"] == f"{donor}_{there}")
                    & (frame["layer"] == 0)
                    & (frame["kind"] == kind)
                    & (frame["units"] == ("all" if units is None else "2"))
                    & (frame["phase"] == "both")
                    & (frame["item"] == target.item)
                ]
                (value,) = mine["logit_difference"]
                assert value == pytest.approx(float(outcome.logit_difference[0]), abs=1e-4)
                assert value != pytest.approx(float(run.logit_difference[0]), abs=1e-4)


def test_choices_read_one_half_only(found: Found) -> None:
    kinds = ("attn_out", "mlp_out", "resid_post")
    layers = [choose_layer(found.table, kind) for kind in kinds]
    ranked = rank_units(found.table, "head")
    assert sorted(ranked) == [0, 1, 2, 3]
    frame = found.frame.copy()
    report = frame["half"] == "report"
    frame.loc[report, "verdict"] = "right"
    frame.loc[report, "logit_difference"] = range(int(report.sum()))
    # Even if the other half stood under the same part.
    doubled = pd.concat([frame, frame[report].assign(part="choice")])
    changed = pa.Table.from_pandas(doubled, PATCHES.schema(), preserve_index=False)
    assert [choose_layer(changed, kind) for kind in kinds] == layers
    assert rank_units(changed, "head") == ranked
    assert choose_site(changed) == choose_site(found.table)


def test_the_chosen_site_is_reported_with_every_donor(found: Found) -> None:
    site = choose_site(found.table)
    frame = found.frame[found.frame["part"] == "site"]
    assert set(frame["phase"]) == {"prefill", "decode", "both"}
    frame = frame[frame["phase"] == "both"]
    units = "all" if site.units is None else str(site.units[0])
    place = frame[["half", "direction", "layer", "kind", "units", "phase"]].drop_duplicates()
    assert place.to_numpy().tolist() == [
        ["report", "plain_to_buggy", site.layer, site.kind, units, "both"]
    ]
    pairs = frame.groupby("donor")["item"].nunique()
    assert set(pairs.index) == {*DONORS, "identity", "mean_plain", "mean_buggy"}
    assert set(pairs) == {PATCHING.pairs}
    same = frame[frame["donor"] == "identity"]
    assert same["logit_difference"].tolist() == same["clean_logit_difference"].tolist()


def test_pairs_that_are_not_prone_are_patched_at_the_chosen_site(found: Found) -> None:
    site = choose_site(found.table)
    frame = found.frame[found.frame["part"] == "spared"]
    units = "all" if site.units is None else str(site.units[0])
    assert {(site.kind, units), ("attn_out", "all")} == set(
        zip(frame["kind"], frame["units"], strict=True)
    )
    assert set(frame["layer"]) == {site.layer}
    strata = {each.item: (each.stratum, each.half) for each in PROMPTS}
    assert {strata[item] for item in frame["item"]} == {(UNEQUAL, "report")}
    own, prone = (frame[frame["donor"] == name] for name in ("identity", "unlike_pair_plain"))
    assert own["logit_difference"].tolist() == own["clean_logit_difference"].tolist()
    assert (own["donor_item"] == own["item"]).all()
    assert all(strata[item][0].startswith("prone") for item in prone["donor_item"])
    assert {strata[item][1] for item in prone["donor_item"]} == {"report"}
    assert (prone["logit_difference"] != prone["clean_logit_difference"]).any()
    # Each is given to by the pair that it gives to.
    given = found.frame[
        (found.frame["part"] == "site") & (found.frame["donor"] == "unlike_pair_plain")
    ]
    pairs = set(zip(given["donor_item"], given["item"], strict=True))
    assert set(zip(prone["item"], prone["donor_item"], strict=True)) <= pairs
    assert not len(tried(found.model, FEW).filter(pc.field("part") == "spared"))


def test_what_is_chosen_does_not_depend_on_pairs_that_report() -> None:
    model = small_word_model("llama")
    every = tried(model, FEW)
    assert tried(model, FEW).equals(every)
    items = [each.item for each in prone_prompts(PROMPTS, "report", 99)["buggy"]]
    fewer = tried(model, FEW, [each for each in PROMPTS if each.item not in items[:1]])
    assert not fewer.equals(every)
    half, part = pc.field("half"), pc.field("part")
    assert every.filter(half == "choose").equals(fewer.filter(half == "choose"))
    for table in (every, fewer):
        assert set(table.filter(part == "blend")["layer"].to_pylist()) == {choose_layer(every)}


def test_model_without_the_bug_is_not_patched() -> None:
    table = patch(
        small_word_model("llama"),
        PROMPTS,
        answers(buggy=False),
        PATCHING,
        SUBSETS,
        weights=WEIGHTS,
        max_new_tokens=N_NEW,
    )
    assert len(table) == 0
    assert table.schema == PATCHES.schema()


def test_word_problems_are_aligned_from_the_end() -> None:
    model = small_word_model("gpt2")
    half = HalfRuns.read(model, PROMPTS, "choose", pairs=4, max_new_tokens=N_NEW, seed=0)
    run, problems = half.asked["buggy"].run, half.problems
    donor = half.donor("buggy", "word_problem", half)
    place = HookedLayer("mlp_out", 1)
    given, carried = donor.prompt(place), problems.at("mlp_out", 1)
    for row, keys in enumerate(half.asked["buggy"].keys):
        assert keys[0] == (BEGIN,)
        length = int(problems.mask[row].sum())
        assert length > len(keys)
        begin, final = int(run.begin[row]), int(run.final[row])
        assert not donor.at[row, begin]
        assert bool(donor.at[row, begin + 1 : final + 1].all())
        for back in range(len(keys) - 1):
            entry = donor.prompt_entry[row, final - back]
            assert torch.equal(given[entry], carried[row, length - 1 - back])
    own = half.asked["buggy"].prompts
    assert half.prompts("identity") == half.prompts("same_pair_plain") == own
    assert half.prompts("word_problem") == half.prompts("mean_plain") == [None] * 4


def test_exchanged_units_get_what_others_carry() -> None:
    model = small_word_model("llama")
    half = HalfRuns.read(model, PROMPTS, "choose", pairs=4, max_new_tokens=N_NEW, seed=0)
    donor = half.donor("buggy", "same_pair_plain", half)
    units, place = units_of(model.language_model, "kv_group"), HookedLayer("attn_z", 0)
    other = exchanged(donor, units, [1, 0])
    tables = ((other.prompt, donor.prompt), (other.answer, donor.answer))
    for given, own in ((one(place), two(place)) for one, two in tables):
        half_width = units.width // 2
        assert torch.equal(given[:, :half_width], own[:, half_width:])
        assert torch.equal(given[:, half_width:], own[:, :half_width])


def test_donors_are_named_for_their_prompts() -> None:
    assert in_direction("same_pair_plain", "plain_to_buggy") == "same_pair_plain"
    assert in_direction("same_pair_plain", "buggy_to_plain") == "same_pair_buggy"
    assert in_direction("mean_buggy", "buggy_to_plain") == "mean_plain"
    assert in_direction("word_problem", "buggy_to_plain") == "word_problem"
    assert in_direction("identity", "buggy_to_plain") == "identity"


def test_numbers_of_donors_are_read_whole() -> None:
    donated, own = frozenset({"3.9", "3.10"}), frozenset({"9.8", "9.11"})
    assert names_only(" 3.9 is bigger than 3.1.", donated, own)
    assert not names_only(" 13.9 is bigger than 3.101.", donated, own)
    assert not names_only(" 3.9 is bigger than 9.8.", donated, own)
    assert not names_only(" 9.8 is bigger.", donated, own)
    assert not names_only(" 9.8 is bigger.", frozenset(), own)
