"""Time to try patches one by one: ours beside `generate` with a hook for each.

    python tests/benchmarks/patching.py [--patches 24] [--memory 96 384]

A GPT-2 of 12 layers with random weights, three times as large as usual so that patches change
answers, reads 30 prompts of 20 to 32 tokens, as the decimal bug's are, and answers each with 8
tokens. Each patch puts what one head of one block carries in another prompt in its place, at every
token of prompt and answer; heads of three blocks and two donors take turns. The peer is what one
writes by hand: `generate` of all prompts in one batch with a hook on that block, which reads the
logits of the first token on the way. Both get the same donors' activations; logit differences and
answers must come out equal. What ours leaves out are the blocks before the patch and answers that
stay as they are, so it gains little in early layers of patches that change most answers, as these
do. Sides take turns and are judged by their least time for as many patches; `_cpu` compares
processor time. Memory is that of whole processes that try so many patches with a smaller model.
Exit code 1 if `ratio` is below 1, outcomes come out unequal or memory grows. The last line is one
JSON object.
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

from saeflow.interventions.donors import Donor
from saeflow.interventions.patches import Patch
from saeflow.interventions.patching import PatchRun
from saeflow.interventions.units import units_of
from saeflow.models.conventions import HookedLayer
from saeflow.models.hooks import editing
from saeflow.seeds import torch_generator

Found = tuple[Tensor, list[list[int]]]
"""Logit differences of the prompts, and their answers."""
BAR, TOLERANCE = 1.0, 1e-3
LAYERS, VOCABULARY, PROMPTS, NEW_TOKENS, TURN = 12, 5000, 30, 8, 6
PATCHED_LAYERS = (2, 6, 10)


def main() -> int:
    """Run the benchmark and return its exit code."""
    options = parse()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(json.dumps(patch_many(options.memory_of)))
        return 0
    report: dict[str, Any] = {"name": "patching", "ratio": None, "bar": BAR}
    report["peer"] = f"generate with a hook for each (transformers {transformers.__version__})"
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        suffix = "" if device == "cpu" else f"_{device}"
        trial = Trial(small_gpt2(options.width).to(torch.device(device)))
        report |= compare(trial, trial.patches(options.patches), suffix)
    flat = growth(__file__, options.memory, "patches", ["--threads", "1"], ONE_ARENA)
    report |= {"peak_mib": round(peak_mib()), **flat}
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(json.dumps(report))
    return int(report["ratio"] < BAR or flat["growth_mib"] > flat["growth_allowed"])


def parse() -> argparse.Namespace:
    """Sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=int, default=24)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, nargs=2, default=[96, 384])
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def small_gpt2(width: int) -> GPT2LMHeadModel:
    """A GPT-2 with large random weights, so that attention is far from uniform."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=width,
        n_head=width // 64,
        n_layer=LAYERS,
        bos_token_id=0,
        eos_token_id=None,
    )
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return model


class Trial:
    """Prompts and donors, and both ways to try a patch."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        generator = torch_generator(0, "benchmark", "patching")
        lengths = torch.randint(20, 33, (PROMPTS,), generator=generator).tolist()
        self.prompts = [
            torch.randint(1, VOCABULARY, (length,), generator=generator).tolist()
            for length in lengths
        ]
        self.candidates = torch.randint(1, VOCABULARY, (PROMPTS, 2), generator=generator)
        self.model = model
        self.run = PatchRun(
            model, self.prompts, self.candidates, max_new_tokens=NEW_TOKENS, ends=[]
        )
        self.units = units_of(model, "head")
        # Another prompt's token of the same number, as far as both reach.
        self.sources = [[(row + shift) % PROMPTS for row in range(PROMPTS)] for shift in (1, 7)]
        self.donors = [self._donor(source) for source in self.sources]

    def _donor(self, source: Sequence[int]) -> Donor:
        shared = [
            min(len(self.prompts[row]), len(self.prompts[other]))
            for row, other in enumerate(source)
        ]
        pairs = [[(token, token) for token in range(count)] for count in shared]
        return Donor.aligned(self.run, self.run, pairs, source)

    def patches(self, count: int) -> list[tuple[int, int, int]]:
        """Donor, layer and head of so many patches."""
        heads = self.units.n_units
        return [
            (
                number % 2,
                PATCHED_LAYERS[number // 2 % len(PATCHED_LAYERS)],
                number // (2 * len(PATCHED_LAYERS)) % heads,
            )
            for number in range(count)
        ]

    def ours(self, patches: Sequence[tuple[int, int, int]]) -> list[Found]:
        """All of them at once, by saeflow."""
        tried = [Patch(self.donors[n], layer, "head", [head]) for n, layer, head in patches]
        found = dict(self.run.outcomes(tried))
        return [(each.logit_difference, each.answers) for _, each in sorted(found.items())]

    def peer(self, patches: Sequence[tuple[int, int, int]]) -> list[Found]:
        """One `generate` each."""
        device = self.run.mask.device
        length = self.run.length
        rows = [[0] * (length - len(each)) + each for each in self.prompts]
        ids = torch.tensor(rows, device=device)
        found = []
        for number, layer, head in patches:
            with editing(
                self.model, {HookedLayer("attn_z", layer): self._hook(number, layer, head)}
            ):
                written = self.model.generate(
                    ids,
                    attention_mask=self.run.mask.long(),
                    max_new_tokens=NEW_TOKENS,
                    do_sample=False,
                    pad_token_id=0,
                    output_logits=True,
                    return_dict_in_generate=True,
                )
            both = written.logits[0].gather(1, self.candidates.to(device))
            found.append((both[:, 0] - both[:, 1], written.sequences[:, length:].tolist()))
        return found

    def _hook(self, number: int, layer: int, head: int) -> Callable[[Tensor], Tensor]:
        """Hook that puts a head's activations of the donor in place, pass by pass."""
        place, source = HookedLayer("attn_z", layer), torch.tensor(self.sources[number])
        width = self.units.width // self.units.n_units
        columns = slice(head * width, (head + 1) * width)
        prompt, answer = self.run.activations[place], self.run.written[place]
        step = -1

        def change(hidden: Tensor) -> Tensor:
            nonlocal step
            hidden = hidden.clone()
            if step < 0:
                for row, other in enumerate(source.tolist()):
                    count = min(len(self.prompts[row]), len(self.prompts[other]))
                    here, there = int(self.run.begin[row]), int(self.run.begin[other])
                    hidden[row, here : here + count, columns] = prompt[
                        other, there : there + count, columns
                    ]
            else:
                hidden[:, 0, columns] = answer[source, step][:, columns]
            step += 1
            return hidden

        return change


def compare(trial: Trial, patches: Sequence[tuple[int, int, int]], suffix: str) -> dict[str, Any]:
    """Least seconds of turns of as many patches; whatever either gives must be equal."""
    seconds: dict[str, list[tuple[float, float]]] = {"saeflow": [], "peer": []}
    changed = total = 0
    error = largest = 0.0
    for start in range(-TURN, len(patches), TURN):
        # The first turn, whose patches come again, does not count.
        turn = patches[max(start, 0) :][:TURN]
        results = []
        for name, side in (("saeflow", trial.ours), ("peer", trial.peer)):
            before = time.perf_counter(), time.process_time()
            with torch.no_grad():
                results.append(side(turn))
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            after = time.perf_counter(), time.process_time()
            if start >= 0 and len(turn) == TURN:
                seconds[name].append((after[0] - before[0], after[1] - before[1]))
        for (difference, answers), (expected, known) in zip(*results, strict=True):
            torch.testing.assert_close(difference, expected, atol=TOLERANCE, rtol=TOLERANCE)
            assert answers == known, "answers differ"
            error = max(error, float((difference - expected).abs().max()))
            effect = expected - trial.run.logit_difference
            largest = max(largest, float(effect.abs().max()))
            pairs = zip(answers, trial.run.answers, strict=True)
            changed += sum(new != old for new, old in pairs)
            total += len(answers)
    assert largest > 10 * error, "the patches change nothing"
    least = {name: torch.tensor(each).min(0).values / TURN for name, each in seconds.items()}
    ratio, ratio_cpu = (least["peer"] / least["saeflow"]).tolist()
    for name, (wall, processor) in least.items():
        print(f"{name:8} {wall:.4f} s a patch, {processor:.4f} s CPU")
    print(f"{changed / total:.1%} of answers change")
    found = {"ratio": round(ratio, 2), "ratio_cpu": round(ratio_cpu, 2)}
    found |= {"largest_effect": largest, "largest_difference": error}
    found |= {"answers_changed": round(changed / total, 3)}
    found["seconds_a_patch"] = round(float(least["saeflow"][0]), 4)
    return {f"{key}{suffix}": value for key, value in found.items()}


def patch_many(count: int) -> dict[str, float]:
    """Try so many patches, the same ones over and over; what it took."""
    trial = Trial(small_gpt2(128))
    start = time.perf_counter()
    patches = trial.patches(12)
    trial.ours([patches[number % len(patches)] for number in range(count)])
    return {"peak_mib": peak_mib(), "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    sys.exit(main())
