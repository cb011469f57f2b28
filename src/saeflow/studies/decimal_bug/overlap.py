"""Which features two formats share, layer by layer (methods/4, sections 5.2 and 5.6.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float

from saeflow.artifacts.decimal_bug import LAYER_FEATURES, OVERLAP
from saeflow.config.decimal_bug import ListSettings
from saeflow.datasets.comparisons.formats import GIVEN, PUBLISHED, paraphrases
from saeflow.datasets.comparisons.pairs import PUBLISHED_ITEM
from saeflow.datasets.comparisons.prompts import Prompt
from saeflow.errors import SaeflowError
from saeflow.models.alignment import BEGIN, align_prompts, key_text, prompt_keys
from saeflow.models.language_model import LanguageModel
from saeflow.progress import progress
from saeflow.saes.bank import Bank
from saeflow.saes.quality import site_quality
from saeflow.saes.tokens import encode_texts, token_sae
from saeflow.stats.overlap import PublishedOverlap, published_overlap, similarity
from saeflow.studies.decimal_bug.differing import last_tokens

QA, SIMPLE = PUBLISHED["Q&A"], PUBLISHED["Simple"]
FORMAT = "format"
"""Comparison of Q&A with Simple; the others are paraphrases of either."""
CHUNK = 16
"""Pairs whose features are held at a time, at most."""
HELD = 4e9
"""Bytes that these features may take."""
CHECKED = 300
"""Prompts on which the SAEs themselves are checked, at most."""
METRICS = ("l0_mean", "explained_variance", "fvu")
EVERY, LAST = "all tokens", "last"
Encoded = dict[int, Float[np.ndarray, "_ d_sae"]]
"""By block: features of the tokens of one prompt."""


class LayerOverlap(NamedTuple):
    """The published number of one layer, and the values that it is made of."""

    layer: int
    found: PublishedOverlap
    qa: Float[np.ndarray, " features"]
    simple: Float[np.ndarray, " features"]


class Check(NamedTuple):
    """How well the SAE of a block reconstructs these very prompts, at all tokens or the last ones."""

    layer: int
    tokens: str
    metric: str
    value: float
    n: int


def check_bank(
    model: LanguageModel, bank: Bank, prompts: Sequence[Prompt], *, batch_size: int
) -> list[Check]:
    """Measure the SAEs on the prompts that they will be asked about (methods/4, section 5.5).

    Parameters
    ----------
    model : LanguageModel
        The model.
    bank : Bank
        Of tokens.
    prompts : sequence of Prompt
        What is asked; some evenly spaced ones are read.
    batch_size : int
        Most prompts per forward pass.

    Returns
    -------
    list of Check
        For each block, the mean number of active features and the variance explained; of all tokens,
        and of the last ones alone, which the overlap is read at.
    """
    parts: dict[tuple[int, str], list[torch.Tensor]] = {
        (site.layer, tokens): [] for site in bank.sites for tokens in (EVERY, LAST)
    }
    texts = [each.text for each in prompts[:: -(-len(prompts) // CHECKED)]]
    for batch in encode_texts(model, bank, texts, batch_size=batch_size):
        _, last = last_tokens(batch.text)
        for layer, x in batch.activations.items():
            parts[layer, EVERY].append(x[~batch.begin].cpu())
            parts[layer, LAST].append(x[last].cpu())
    checks = []
    for (layer, tokens), found in parts.items():
        x = torch.cat(found)
        quality = site_quality(token_sae(bank, layer), x)
        checks += [Check(layer, tokens, name, quality[name], len(x)) for name in METRICS]
    return checks


def published_layers(
    model: LanguageModel, bank: Bank, prompts: Sequence[Prompt], settings: ListSettings
) -> list[LayerOverlap]:
    """Overlap of the last token's features between Q&A and Simple, one pair of prompts.

    Parameters
    ----------
    model : LanguageModel
        The model.
    bank : Bank
        Of tokens.
    prompts : sequence of Prompt
        They hold the study's own pair.
    settings : ListSettings
        Length of the lists.

    Raises
    ------
    SaeflowError
        If the study's pair is not among the prompts.
    """
    asked = [
        next(
            (p for p in prompts if (p.item, p.form, p.order) == (PUBLISHED_ITEM, form, GIVEN)), None
        )
        for form in (QA, SIMPLE)
    ]
    own = [each for each in asked if each is not None]
    if len(own) < len(asked):
        raise SaeflowError("the study's own pair is not among the prompts; expected it in them.")
    encoded = _encode(model, bank, own, batch_size=len(own))
    layers = []
    for layer in encoded[0]:
        qa, simple = (found[layer][-1] for found in encoded)
        layers.append(LayerOverlap(layer, published_overlap(qa, simple, settings.top), qa, simple))
    return layers


def layer_features(layers: Sequence[LayerOverlap], run: dict[str, Any]) -> pa.Table:
    """Return the published lists as a table with the columns of `LAYER_FEATURES`."""
    rows = []
    for layer, found, qa, simple in layers:
        groups = {
            "shared": found.shared,
            "qa_only": found.wrong_only,
            "simple_only": found.correct_only,
        }
        for group, features in groups.items():
            for feature in features.tolist():
                values = float(qa[feature]), float(simple[feature])
                listed = {"shared": values, "qa_only": values[:1], "simple_only": values[1:]}
                rows.append(
                    {
                        **run,
                        "layer": layer,
                        "feature": feature,
                        "group": group,
                        "qa_value": values[0],
                        "simple_value": values[1],
                        "filler": 0.0 in listed[group],
                    }
                )
    return pa.Table.from_pylist(rows, LAYER_FEATURES.schema())


def overlap_table(
    model: LanguageModel,
    bank: Bank,
    prompts: Sequence[Prompt],
    run: dict[str, Any],
    *,
    batch_size: int,
) -> pa.Table:
    """Compare the features of corresponding tokens: between formats, and between paraphrases.

    Q&A is held against Simple (``format``). What another wording, or the other order of the numbers,
    changes within Q&A and within Simple is how far features differ when the answer does not
    depend on it.

    Parameters
    ----------
    model : LanguageModel
        The model.
    bank : Bank
        Of tokens.
    prompts : sequence of Prompt
        All formats and both orders of each pair.
    run : dict
        Values of the key columns dictionary and seed.
    batch_size : int
        Most prompts per forward pass.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.OVERLAP`; begin-of-text tokens are left out, which
        no prompt can change.
    """
    forms = list(dict.fromkeys(each.form for each in prompts))
    by_item: dict[int, dict[tuple[str, str], Prompt]] = {}
    for each in prompts:
        if each.item != PUBLISHED_ITEM:
            by_item.setdefault(each.item, {})[each.form, each.order] = each
    items = list(by_item)
    wanted = _comparisons(forms)
    read = sorted({place for comparison in wanted for place in comparison[1:]})
    parts = [OVERLAP.schema().empty_table()]
    size = _chunk_size(model, bank, prompts, len(read))
    chunks = range(0, len(items), size)
    for start in progress(chunks, description="pairs compared", total=len(chunks), unit="chunks"):
        chosen = [by_item[item][place] for item in items[start : start + size] for place in read]
        encoded = dict(
            zip(
                ((each.item, each.form, each.order) for each in chosen),
                _encode(model, bank, chosen, batch_size=batch_size),
                strict=True,
            )
        )
        rows = [
            row
            for item in items[start : start + size]
            for kind, one, other in wanted
            for row in _compare(
                model,
                kind,
                (by_item[item][one], by_item[item][other]),
                (encoded[item, *one], encoded[item, *other]),
                run,
            )
        ]
        parts.append(pa.Table.from_pylist(rows, OVERLAP.schema()))
    return pa.concat_tables(parts).combine_chunks()


def _chunk_size(model: LanguageModel, bank: Bank, prompts: Sequence[Prompt], n_read: int) -> int:
    """Pairs of which features of every token and block can be held; fewer than `CHUNK` of wide SAEs."""
    longest = max((len(model.tokenizer(each.text)["input_ids"]) for each in prompts), default=1)
    each = n_read * longest * len(bank.sites) * bank.d_sae * np.dtype(np.float32).itemsize
    return max(1, min(CHUNK, int(HELD // each)))


def _comparisons(
    forms: Sequence[str],
) -> list[tuple[str, tuple[str, str], tuple[str, str]]]:
    """Kind, and the format and order of either prompt."""
    found = [(FORMAT, (QA, GIVEN), (SIMPLE, GIVEN))]
    for form in (QA, SIMPLE):
        for each in paraphrases(form, GIVEN, forms):
            found.append((each.kind, (form, GIVEN), (each.form, each.order)))
    return found


def _compare(
    model: LanguageModel,
    kind: str,
    prompts: tuple[Prompt, Prompt],
    encoded: tuple[Encoded, Encoded],
    run: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    one, other = prompts
    pairs = align_prompts(model.tokenizer, one, other, numbers="value")
    keys = prompt_keys(model.tokenizer, one)
    pairs = [(a, b) for a, b in pairs if keys[a] != (BEGIN,)]
    places = [a for a, _ in pairs]
    others = [b for _, b in pairs]
    for layer in encoded[0]:
        found = similarity(encoded[0][layer][places], encoded[1][layer][others])
        for row, place in enumerate(places):
            yield {
                **run,
                "layer": layer,
                "form": one.form,
                "order": one.order,
                "item": one.item,
                "comparison": kind,
                "other_form": other.form,
                "key": key_text(keys[place]),
                "half": one.half,
                "n_active": int(found.n_active[row]),
                "other_n_active": int(found.other_n_active[row]),
                "jaccard": _number(found.jaccard[row]),
                "weighted_jaccard": _number(found.weighted_jaccard[row]),
                "cosine": _number(found.cosine[row]),
            }


def _encode(
    model: LanguageModel, bank: Bank, prompts: Sequence[Prompt], *, batch_size: int
) -> list[Encoded]:
    """Features of every token of each prompt, by block."""
    found: list[Encoded] = [{} for _ in prompts]
    texts = [each.text for each in prompts]
    for batch in encode_texts(model, bank, texts, batch_size=batch_size):
        numbers = batch.text.cpu().numpy()
        for layer, features in batch.features.items():
            values = features.cpu().numpy()
            for number in np.unique(numbers).tolist():
                found[number][layer] = values[numbers == number]
    return found


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
