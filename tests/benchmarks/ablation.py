"""Time to ablate features one by one: ours beside one full forward pass for each.

    python tests/benchmarks/ablation.py [--features 64] [--memory 64 256]

A GPT-2 of 12 layers with random weights reads 16 texts of 48 to 64 tokens; each feature of an SAE
behind its 9th block is ablated at every token by itself, and what the model then expects at the last
token is compared. The peer is a hook on that block, the head at last tokens only, no gradients, all
texts in one batch; both get the same edit and clean results, and every feature must come out equal.
`ratio` is of an SAE whose features fire in every text (100 of 512, as the study's), `ratio_sparse` of
one whose features do not (16 of 4,096), so that ours leaves texts out. `ratio_thoughts` is of 16
questions with six latent thoughts and a model of half the width, edited at s3 in the same layer,
answers scored and written: the peer thinks anew. It is reported only, as `ratio_sparse` is: no bar is
set for either. Sides take turns and are judged by their least time for as many features, for other
jobs slow a run and never speed it up; `_cpu` compares processor time.
Memory is that of whole processes that ablate so many features with a smaller model, the same 16 over
and over; the smaller number must fill the forward passes of texts and of thoughts, which 64 does, or what
is measured is how they fill. Exit code 1 if `ratio` is below 3, features come out unequal or memory
grows. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from _memory import ONE_ARENA, growth, peak_mib
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from saeflow.interventions.answers import AnswerKey
from saeflow.interventions.edits import Edit, Splice, ablate
from saeflow.interventions.texts import TextCondition, TextRun
from saeflow.interventions.thoughts import Condition, Place, ThoughtRun
from saeflow.models.codi import CodiModel, Projection, ThoughtTokens, last_of
from saeflow.models.conventions import HookedLayer
from saeflow.models.hooks import editing
from saeflow.models.reader import Reader
from saeflow.models.tokenizer import byte_tokenizer
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.seeds import torch_generator

# Numbers of features → a row per feature: log-probability of a token and divergence, per text.
Side = Callable[[Sequence[int]], Tensor]
BAR, TOLERANCE = 3.0, 1e-4
LAYERS, LAYER, VOCABULARY = 12, 8, 50257
TEXTS, TURN, ROWS = 16, 8, 32
LATENTS, STEP, NEW_TOKENS = 6, 3, 16


def main() -> int:
    """Run the benchmark and return its exit code."""
    options = parse()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(json.dumps(ablate_many(options.memory_of)))
        return 0
    report: dict[str, Any] = {"name": "ablation", "ratio": None, "bar": BAR}
    report["peer"] = f"one forward pass each with a hook (transformers {transformers.__version__})"
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        suffix = "" if device == "cpu" else f"_{device}"
        model = small_gpt2(options.width).to(torch.device(device))
        few = max(TURN, options.features // 4)
        for kind, d_sae, k, count in (("", 512, 100, options.features), ("_sparse", 4096, 16, few)):
            sides, features = text_sides(model, sae(model, d_sae, k), count)
            report |= compare(sides, features, f"{kind}{suffix}")
        model = small_gpt2(options.width // 2).to(torch.device(device))
        sides = thought_sides(model, sae(model, 512, 100))
        report |= compare(sides, range(few), f"_thoughts{suffix}")
    flat = growth(__file__, options.memory, "features", ["--threads", "1"], ONE_ARENA)
    report |= {"peak_mib": round(peak_mib()), **flat}
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(json.dumps(report))
    return int(report["ratio"] < BAR or flat["growth_mib"] > flat["growth_allowed"])


def parse() -> argparse.Namespace:
    """Sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, nargs=2, default=[64, 256])
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def small_gpt2(width: int) -> CodiModel:
    """A GPT-2 with random weights; byte tokens stand in for its own."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY + 3,
        n_embd=width,
        n_head=width // 64,
        n_layer=LAYERS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    tokens = ThoughtTokens.after(VOCABULARY)
    projection = Projection(width, width)
    return CodiModel(GPT2LMHeadModel(config), projection, byte_tokenizer(), tokens, "0")


def sae(model: CodiModel, d_sae: int, k: int) -> Bank:
    """An SAE with random directions."""
    d_in = int(model.language_model.config.hidden_size)
    generator = torch_generator(0, "benchmark", "sae")
    encoder = torch.randn(1, d_in, d_sae, generator=generator)
    decoder = torch.nn.functional.normalize(torch.randn(1, d_sae, d_in, generator=generator), dim=2)
    recipe = Recipe("abstopk", d_sae, k)
    zeros = torch.zeros(1, d_sae), torch.zeros(1, d_in)
    bank = Bank(recipe, (Site(LAYER, 0),), encoder / d_in**0.5, zeros[0], decoder, zeros[1])
    return bank.to(model.device)


def text_sides(model: CodiModel, bank: Bank, count: int) -> tuple[dict[str, Side], Sequence[int]]:
    """Both ways through texts, and features that fire somewhere."""
    generator = torch_generator(0, "benchmark", "texts")
    lengths = torch.randint(48, 65, (TEXTS,), generator=generator).tolist()
    texts = [torch.randint(VOCABULARY, (n,), generator=generator).tolist() for n in lengths]
    place = HookedLayer("resid_post", LAYER)
    run = TextRun(model.language_model, texts, keep=[place])
    values = bank.encode(run.activations[place][run.mask][None])[0]
    firing = (values != 0).any(0).nonzero()[:, 0]
    share = float((values[:, firing] != 0).float().mean())
    text = torch.arange(TEXTS, device=model.device)[:, None].expand_as(run.mask)[run.mask]
    silent = sum(
        int((values[text == n][:, firing[:count]] == 0).all(0).sum()) for n in range(TEXTS)
    )
    print(
        f"{len(firing)} of {bank.d_sae} features fire, on {share:.1%} of tokens; silent in "
        f"{silent / count / TEXTS:.1%} of texts"
    )

    def ours(features: Sequence[int]) -> Tensor:
        conditions = [TextCondition({place: Splice(bank, ablate([n]))}) for n in features]
        found = dict(run.outcomes(conditions, rows=ROWS))
        rows = [torch.stack([each.log_probability, each.kl]) for _, each in sorted(found.items())]
        return torch.stack(rows)

    ids, mask = model.pad(texts, left_pad=False)
    clean, last = run.clean.expected, mask.sum(1) - 1
    numbers = torch.arange(TEXTS, device=model.device)

    @torch.no_grad()
    def peer(features: Sequence[int]) -> Tensor:
        rows = []
        for feature in features:
            hook = everywhere(Splice(bank, ablate([feature])), mask.bool(), text)
            with editing(model.language_model, {place: hook}):
                output = model.language_model.base_model(ids, attention_mask=mask, use_cache=False)
            hidden = output.last_hidden_state[numbers, last]
            after = model.language_model.lm_head(hidden).log_softmax(-1)
            gained = (after - clean)[numbers, run.clean.targets]
            rows.append(torch.stack([gained, (clean.exp() * (clean - after)).sum(-1)]))
        return torch.stack(rows)

    return {"saeflow": ours, "peer": peer}, firing[:count].tolist()


def everywhere(edit: Edit, mask: Tensor, text: Tensor) -> Callable[[Tensor], Tensor]:
    """Hook that edits every token, as one writes it by hand."""

    def change(hidden: Tensor) -> Tensor:
        hidden = hidden.clone()
        hidden[mask] = edit(hidden[mask], text)
        return hidden

    return change


def thought_sides(model: CodiModel, bank: Bank) -> dict[str, Side]:
    """Both ways through thoughts and answers."""
    generator = torch_generator(0, "benchmark", "questions")
    letters = torch.randint(97, 123, (TEXTS, 64), generator=generator).tolist()
    questions = [bytes(row[: 50 + number]).decode() for number, row in enumerate(letters)]
    answers = [f"<<{number}*3={number * 3}>>\n#### {number * 3}" for number in range(TEXTS)]
    place = Place(STEP, "resid_post", LAYER)
    run = ThoughtRun(model, questions, answers, latents=LATENTS, max_new_tokens=NEW_TOKENS)
    key = AnswerKey(model, answers, NEW_TOKENS)
    numbers = torch.arange(TEXTS, device=model.device)
    ids, mask = model.pad([model.question_ids(each) for each in questions], left_pad=True)
    embedded = model.language_model.get_input_embeddings()(ids).detach()

    everyone = torch.ones(TEXTS, 1, dtype=torch.bool, device=model.device)

    def ours(features: Sequence[int]) -> Tensor:
        conditions = [Condition({place: Splice(bank, ablate([n]))}) for n in features]
        found = dict(run.outcomes(conditions, rows=4 * ROWS))
        gained = [[each.log_probability, each.correct] for _, each in sorted(found.items())]
        return torch.stack([torch.stack(each) for each in gained])

    @torch.no_grad()
    def peer(features: Sequence[int]) -> Tensor:
        rows = []
        for feature in features:
            hook = everywhere(Splice(bank, ablate([feature])), everyone, numbers)
            reader, inputs = Reader(model.language_model, mask), embedded
            for step in range(LATENTS + 1):
                hooks = {(place.hook, place.layer): hook} if step == STEP else {}
                with editing(model.language_model, hooks):
                    inputs = model.projection(last_of(reader, inputs))[:, None]
            # It scores the right answers and writes the model's own, token by token.
            read, clean = key.open(reader), run.clean
            right = read.correct.int() - clean.correct.int()
            rows.append(torch.stack([read.log_probability - clean.log_probability, right]))
        return torch.stack(rows)

    return {"saeflow": ours, "peer": peer}


def compare(sides: dict[str, Side], features: Sequence[int], suffix: str) -> dict[str, Any]:
    """Least seconds of turns of as many features; whatever either gives must be equal."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    largest = error = 0.0
    for start in range(-TURN, len(features), TURN):
        # The first turn, whose features come again, does not count.
        turn = features[max(start, 0) :][:TURN]
        results = []
        for name, side in sides.items():
            before = time.perf_counter(), time.process_time()
            results.append(side(turn))
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            after = time.perf_counter(), time.process_time()
            if start >= 0 and len(turn) == TURN:
                seconds[name].append((after[0] - before[0], after[1] - before[1]))
        torch.testing.assert_close(*results, atol=TOLERANCE, rtol=TOLERANCE)
        error = max(error, float((results[0] - results[1]).abs().max()))
        largest = max(largest, float(results[1].abs().max()))
    assert largest > 10 * error, "the ablations change nothing"
    least = {name: torch.tensor(each).min(0).values / TURN for name, each in seconds.items()}
    ratio, ratio_cpu = (least["peer"] / least["saeflow"]).tolist()
    for name, (wall, processor) in least.items():
        print(f"{suffix[1:] or 'texts':15} {name:8} {wall:.4f} s a feature, {processor:.4f} s CPU")
    found = {"ratio": round(ratio, 2), "ratio_cpu": round(ratio_cpu, 2)}
    found |= {"largest_effect": largest, "largest_difference": error}
    found["seconds_a_feature"] = round(float(least["saeflow"][0]), 4)
    return {f"{key}{suffix}": value for key, value in found.items()}


def ablate_many(count: int) -> dict[str, float]:
    """Ablate so many features in texts and a quarter of them in thoughts; what it took."""
    model = small_gpt2(128)
    bank = sae(model, 512, 100)
    start = time.perf_counter()
    # The same features over and over: how many answers change, and are written anew, is theirs.
    features = [number % 16 for number in range(count)]
    text_sides(model, bank, count)[0]["saeflow"](features)
    thought_sides(model, bank)["saeflow"](features[: count // 4])
    return {"peak_mib": peak_mib(), "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    sys.exit(main())
