"""``saeflow search``: which features of an SAE fire on some prompts and not on others."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saeflow.errors import SaeflowError

if TYPE_CHECKING:
    from saeflow.config.scaling_search import SearchSettings
    from saeflow.datasets.prompt_sets import PromptSides
    from saeflow.models.language_model import LanguageModel
    from saeflow.saes.bank import Bank

NAME = "prompts"
TOKEN_HOOKS = ("resid_post", "resid_pre", "mlp_out", "attn_out", "attn_z")
"""Those of `saeflow.config.dictionaries.TokenHook`, without waiting for pydantic."""
DESCRIPTION = """\
Search the features of a sparse autoencoder that fire on positive prompts and not on negative ones.

Features are chosen on one half of the prompts and reported on the other: area under the curve (0.5 is
chance), permutation p-value, the same adjusted for all that are listed (Holm), and how often a feature
is chosen again when prompts of the first half are drawn anew. Beside them stands what words, length and
the difference of mean activations tell of the same prompts. With fewer than 4 different prompts a side
nothing is held out, and the published scores alone are shown."""
EXAMPLE = """\
example:
  saeflow search --model resources/models/llama --bank results/saes/llama/llama_wide/seed0 \\
      --positive-file medical.txt --negative-file other.txt --top 5

  where each file holds one prompt per line; --positive "..." and --negative "..." add single ones."""


def add_search(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    """Add the command to those of the command line; `search_text` runs it."""
    parser = commands.add_parser(
        "search",
        help="find features of an SAE that fire on some prompts and not on others",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument(
        "--bank", type=Path, required=True, help="folder of its SAEs, such as results/saes/..."
    )
    parser.add_argument("--layer", type=int, help="which SAE, where the bank has several")
    parser.add_argument(
        "--hook", choices=TOKEN_HOOKS, help="where SAEs of other tools read tokens; ours tell it"
    )
    for side, what in (("positive", "share what is searched"), ("negative", "do not")):
        parser.add_argument(
            f"--{side}", nargs="+", action="extend", default=[], metavar="PROMPT",
            help=f"prompts that {what}",
        )  # fmt: skip
        parser.add_argument(
            f"--{side}-file", type=Path, action="append", default=[], metavar="FILE",
            help="the same, one per line",
        )  # fmt: skip
    parser.add_argument(
        "--level", choices=["document", "token"], default="document",
        help="rank whole prompts, or their tokens (default: document)",
    )  # fmt: skip
    parser.add_argument(
        "--pooling", choices=["max", "mean"], default="max",
        help="what of a feature's values on its tokens stands for a prompt (default: max)",
    )  # fmt: skip
    parser.add_argument("--top", type=_at_least(1), default=10, help="features (default: 10)")
    parser.add_argument(
        "--published", action="store_true", help="show the published scores as well"
    )
    parser.add_argument(
        "--permutations", type=_at_least(19), default=999,
        help="labelings of prompts (default: 999)",
    )  # fmt: skip
    parser.add_argument(
        "--bootstrap", type=_at_least(0), default=200, help="draws of prompts (default: 200)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of halves (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    return parser


def search_text(options: argparse.Namespace) -> str:
    """Search, and tell what was found: lines for people, or one JSON object.

    Parameters
    ----------
    options : argparse.Namespace
        What was given to the command.

    Raises
    ------
    SaeflowError
        If a file, prompt, model or bank cannot be used.
    """
    sides = _sides(options)
    # What can be refused without torch is refused by now.
    from saeflow.studies.scaling.search import search_features

    model, bank = _load(options)
    settings = _settings(options)
    run = {"dictionary": "", "seed": 0}
    found = search_features(model, bank, {NAME: sides}, settings, run)
    features, prompts = found.features.to_pylist(), found.prompts.to_pylist()
    notes = _notes(sides, features, prompts, settings)
    if options.json:
        shown = {
            "model": str(options.model),
            "bank": str(options.bank),
            "site": bank.sites[0].name,
            "notes": notes,
            "features": [_without_run(row) for row in features],
            "prompts": [_without_run(row) for row in prompts],
        }
        return json.dumps(shown, indent=2, ensure_ascii=False)
    return "\n".join(_text(options, bank, settings, features, prompts, notes))


def _at_least(least: int) -> Any:
    def count(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return int(text)

    return count


def _sides(options: argparse.Namespace) -> PromptSides:
    from saeflow.datasets.prompt_sets import prompt_file, prompt_sides

    given = [
        [*prompts, *(prompt for path in files for prompt in prompt_file(path))]
        for prompts, files in (
            (options.positive, options.positive_file),
            (options.negative, options.negative_file),
        )
    ]
    if not given[0]:
        raise SaeflowError(
            "No positive prompt is given; expected --positive PROMPT or --positive-file FILE."
        )
    return prompt_sides(*given)


def _load(options: argparse.Namespace) -> tuple[LanguageModel, Bank]:
    """The model and the one SAE that is searched, before any prompt is read."""
    from dataclasses import replace

    from saeflow.device import resolve_device
    from saeflow.models.directories import directory_revision, load_directory
    from saeflow.saes.bank import Bank, Site
    from saeflow.saes.encoding import open_bank
    from saeflow.saes.storage import load_bank

    ours = (options.bank / "quality.parquet").is_file()
    bank = open_bank(options.bank) if ours else load_bank(options.bank)
    if options.hook is not None:
        bank = Bank(replace(bank.recipe, hook=options.hook), bank.sites, **bank.weights)
    if bank.recipe.hook is None:
        raise SaeflowError(
            f"{options.bank} does not tell where its SAEs read tokens; expected a bank of tokens, or "
            "--hook with the place, such as resid_post."
        )
    if options.layer is not None:
        bank = bank.select([Site(options.layer)])
    elif len(bank.sites) > 1:
        raise SaeflowError(
            f"{options.bank} has SAEs of the layers "
            f"{', '.join(str(site.layer) for site in bank.sites)}; expected one of them as --layer."
        )
    if not options.model.is_dir():
        raise SaeflowError(f"{options.model} does not exist; expected the folder of a model.")
    model = load_directory(options.model, "float32", directory_revision(options.model))
    return model.to(resolve_device()), bank


def _settings(options: argparse.Namespace) -> SearchSettings:
    from saeflow.config.scaling_search import SearchSettings
    from saeflow.studies.scaling.search_published import OF_CORPUS, SCORES

    level = "token" if options.level == "token" else f"document_{options.pooling}"
    return SearchSettings.model_validate(
        {
            "levels": [level],
            "top": options.top,
            "permutations": options.permutations,
            "bootstrap": options.bootstrap,
            "seed": options.seed,
            "published": {
                "scores": [score for score in SCORES if score not in OF_CORPUS],
                "inputs": ["scaled"],
            },
        }
    )


def _notes(
    sides: PromptSides,
    features: Sequence[dict[str, Any]],
    prompts: Sequence[dict[str, Any]],
    settings: SearchSettings,
) -> list[str]:
    """What a reader must know of these prompts, in plain words."""
    import numpy as np

    from saeflow.datasets.prompt_lengths import check_lengths
    from saeflow.studies.scaling.search_calibrated import too_few

    notes = []
    if sides.repeated:
        notes.append(f"{sides.repeated} repeated prompts were left out.")
    if (reason := too_few(sides)) is not None:
        notes.append(f"{reason} The published scores below are of the prompts that chose them.")
        return notes
    lengths = [
        np.array([row["n_tokens"] for row in prompts if row["side"] == side])
        for side in ("positive", "negative")
    ]
    check = check_lengths(*lengths)
    if not check.matched:
        notes.append(
            f"Positive prompts have {check.positive:g} tokens (median) and negative ones "
            f"{check.negative:g}: length alone tells them apart with an area of {check.area:.2f}, so "
            "features may have found length."
        )
    row = next(row for row in features if row["mode"] == "calibrated")
    labelings = comb(row["n_positive"] + row["n_negative"], row["n_positive"])
    smallest = 1 / (labelings if labelings <= settings.permutations else settings.permutations + 1)
    if smallest * settings.top > 0.05:
        notes.append(
            f"With {row['n_positive']} positive and {row['n_negative']} negative prompts held out no "
            f"p-value is below {smallest:.2g}, so none of {settings.top} features can reach 0.05 after "
            "adjustment: give more prompts, or list fewer features."
        )
    return notes


def _text(
    options: argparse.Namespace,
    bank: Bank,
    settings: SearchSettings,
    features: Sequence[dict[str, Any]],
    prompts: Sequence[dict[str, Any]],
    notes: Sequence[str],
) -> list[str]:
    counts = {
        side: sum(row["side"] == side for row in prompts) for side in ("positive", "negative")
    }
    lines = [
        f"{options.bank}, {bank.sites[0].name}: {bank.d_sae} features; {counts['positive']} positive and "
        f"{counts['negative']} negative prompts",
        *(f"note: {note}" for note in notes),
    ]
    calibrated = [row for row in features if row["mode"] == "calibrated"]
    if calibrated:
        lines += ["", *_calibrated_lines(calibrated)]
    if options.published or not calibrated:
        listed: dict[str, list[dict[str, Any]]] = {}
        for row in features:
            if row["mode"] == "published":
                listed.setdefault(row["score"], []).append(row)
        for score, rows in listed.items():
            cut = f"first {settings.published.max_tokens} tokens of the prompts that chose them"
            lines += ["", f"published, {score}, {cut}:"]
            lines += _aligned(
                ["place", "feature", "score", "tokens"],
                [
                    [
                        str(row["place"]),
                        str(row["feature"]),
                        f"{row['value_chosen']:.4f}",
                        _tokens(row),
                    ]
                    for row in rows
                ],
            )
    return lines


def _calibrated_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    own = [row for row in rows if row["control"] == "none"]
    others = [row for row in rows if row["control"] != "none"]
    best = own[0]
    lines = [
        f"chosen on half A, reported on half B ({best['n_positive']} positive, {best['n_negative']} "
        f"negative prompts), {best['level'].replace('_', ', ')}:"
    ]
    lines += _aligned(
        ["place", "feature", "auroc", "half A", "p", "p Holm", "stability", "tokens"],
        [
            [
                str(row["place"]),
                str(row["feature"]),
                f"{row['value']:.2f}",
                f"{row['value_chosen']:.2f}",
                f"{row['p_value']:.2g}",
                f"{row['p_holm']:.2g}",
                "-" if row["stability"] is None else f"{row['stability']:.2f}",
                _tokens(row),
            ]
            for row in own
        ],
    )
    lines += [
        "",
        f"on half A the best of all features has {best['value_chosen']:.2f}; by chance the best "
        f"reaches {best['threshold']:.2f} in one of twenty (p = {best['best_p_value']:.2g})",
        "without the SAE, on half B: "
        + "; ".join(f"{row['control'].replace('_', ' ')} {row['value']:.2f}" for row in others),
    ]
    return lines


def _tokens(row: dict[str, Any]) -> str:
    pairs = zip(row["tokens"], row["activations"], strict=True)
    return "  ".join(
        f"{json.dumps(token, ensure_ascii=False)} {value:.2f}" for token, value in pairs
    )


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns that are aligned on the right, but for the last one."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head) - 1)]
    return [
        "  ".join([*(cell.rjust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in [head, *rows]
    ]


def _without_run(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the columns that tell runs of the workflow apart."""
    return {
        key: value for key, value in row.items() if key not in ("dictionary", "seed", "prompts")
    }
