"""Time to capture GPT-2 small: ours beside nothing kept, output_hidden_states and TransformerLens.

    python tests/benchmarks/capture.py [--repeats 7] [--problems 1000 8000]

Twice, on random weights and a batch of 32 questions as long as GSM8K's: six latent thoughts kept at
their last position, and plain texts kept at every token. `ratio` is the worse of the two times of
the same loop that keeps nothing, divided by ours; 1 is the limit. All take turns within one process,
keep the same values (checked) and are judged by their least times, for other jobs slow a run and
never speed it up. TransformerLens runs as TransformerBridge, with the attention that it insists on.
Memory is that of whole processes that capture into files with a small model, for two numbers of
problems whose lengths are drawn alike. The last line is one JSON object; exit code 3 if
TransformerLens is missing.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pyarrow as pa
import torch
from _memory import growth, peak_mib
from torch import Tensor
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel, logging

from saeflow.artifacts.captures import capture_all
from saeflow.artifacts.provenance import Provenance
from saeflow.config.models import FreshModel
from saeflow.models.capture import capture_chunk
from saeflow.models.codi import CodiModel, Projection, ThoughtTokens
from saeflow.models.loading import load_model
from saeflow.models.tokenizer import byte_tokenizer
from saeflow.models.tokens import read_tokens

# Embeddings, mask, positions and cache (None for texts) → hidden state behind the final norm, and
# the output of every block that is known; None where nothing is kept.
Forward = Callable[[Tensor, Tensor, Tensor, Any], tuple[Tensor, list[Tensor] | None]]
Run = Callable[[], Tensor | None]
LATENTS, BATCH = 6, 32


def main() -> int:
    """Run the benchmark and return its exit code."""
    options = parse()
    if options.memory_of:
        print(json.dumps(capture_to_disk(options.memory_of)))
        return 0
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    report: dict[str, Any] = {"name": "capture", "ratio": None, "peer": None}
    model, base = gpt2_small(), peak_mib()
    texts = typical_batch()
    ours = {
        "thoughts": lambda: keep_thoughts(model, texts),
        "tokens": lambda: keep_tokens(model, texts),
    }
    for run in ours.values():
        run()
    report |= {"peak_mib": round(peak_mib()), "peak_mib_before": round(base)}
    lens, version = transformer_lens(model)
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        model.to(torch.device(device))
        for what, loop in (("thoughts", codi_loop), ("tokens", token_loop)):
            runs: dict[str, Run] = {"saeflow": ours[what]}
            for name, forward in peers(model, lens, last_only=what == "thoughts").items():
                runs[name] = lambda loop=loop, forward=forward: loop(model, texts, forward)
            seconds = compare(runs, f"{device} {what}", options.repeats)
            suffix = f"_{what}" if device == "cpu" else f"_{what}_{device}"
            report[f"seconds{suffix}"] = round(seconds["saeflow"], 3)
            for name, least in seconds.items():
                if name != "saeflow":
                    report[f"{name}{suffix}"] = round(least / seconds["saeflow"], 3)
    report["ratio"] = min(report["ratio_limit_thoughts"], report["ratio_limit_tokens"])
    report["peer"] = f"the loop that keeps nothing (transformer_lens {version} beside)"
    report |= growth(__file__, options.problems, "problems")
    if lens is None:
        report["peer"] = None
    print(json.dumps(report))
    return 3 if lens is None else 0


def parse() -> argparse.Namespace:
    """Repeats, and the two numbers of problems whose memory is compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--problems", type=int, nargs=2, default=[1000, 8000])
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def gpt2_small() -> CodiModel:
    """GPT-2 small with random weights; byte tokens stand in for its own."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50257 + 3, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    tokens = ThoughtTokens.after(50257)
    return CodiModel(GPT2LMHeadModel(config), Projection(768, 768), byte_tokenizer(), tokens, "0")


def lengths(count: int, typical: float, longest: int) -> np.ndarray:
    """Lengths distributed as GSM8K's questions (log-normal), not longer than a multiple of them."""
    drawn = np.random.default_rng(0).lognormal(np.log(typical), 0.37, count)
    return drawn.astype(int).clip(2, longest)


def typical_batch() -> list[str]:
    """Middle batch of a chunk of 256 questions in order of length, as a capture cuts them."""
    generator = np.random.default_rng(1)
    chosen = np.sort(lengths(256, 58, 256))[112 : 112 + BATCH]
    return ["".join(generator.choice(list("abcdefgh 123"), length)) for length in chosen]


def keep_thoughts(model: CodiModel, questions: list[str]) -> Tensor:
    """`saeflow.models.codi.CodiModel.think`."""
    return model.think(questions, latents=LATENTS).activations["resid_post"]


def keep_tokens(model: CodiModel, texts: list[str]) -> Tensor:
    """`saeflow.models.tokens.read_tokens`."""
    (batch,) = read_tokens(model, texts, batch_size=BATCH)
    return batch.activations["resid_post"]


def peers(model: CodiModel, lens: Any, *, last_only: bool) -> dict[str, Forward]:
    """Three ways through the model, by the name of their ratio."""
    language_model, n_layers = model.language_model, model.n_layers

    def nothing(embeds: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Any:
        arguments = {"attention_mask": mask, "position_ids": positions, "past_key_values": cache}
        use = cache is not None
        output = language_model.base_model(inputs_embeds=embeds, use_cache=use, **arguments)
        return output.last_hidden_state, None

    def hidden_states(embeds: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Any:
        arguments = {"attention_mask": mask, "position_ids": positions, "past_key_values": cache}
        arguments |= {"use_cache": cache is not None, "output_hidden_states": True}
        states = language_model(inputs_embeds=embeds, **arguments).hidden_states
        return states[-1], list(states[1:-1])  # the last block's own output is not among them

    names = [f"blocks.{layer}.hook_resid_post" for layer in range(n_layers)]

    def lens_cache(embeds: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Any:
        arguments = {"attention_mask": mask, "position_ids": positions, "past_key_values": cache}
        arguments |= {"use_cache": cache is not None, "logits_to_keep": 1}
        if last_only:
            arguments["pos_slice"] = -1
        _, kept = lens.run_with_cache(
            embeds,
            names_filter=[*names, "ln_final.hook_out"],
            return_cache_object=False,
            **arguments,
        )
        ends = [kept[name.replace("resid_post", "out")] for name in names]
        return kept["ln_final.hook_out"], ends

    found: dict[str, Forward] = {"ratio_limit": nothing, "ratio_hidden_states": hidden_states}
    return found | ({"ratio_transformer_lens": lens_cache} if lens is not None else {})


def transformer_lens(model: CodiModel) -> tuple[Any, str | None]:
    """The same weights as a TransformerBridge, and its version; None where it is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformer_lens.model_bridge import TransformerBridge
    except ImportError:
        return None, None
    from importlib.metadata import version

    weights = copy.deepcopy(model.language_model)
    bridge = TransformerBridge.boot_transformers(
        "gpt2", hf_model=weights, tokenizer=model.tokenizer, device="cpu"
    )
    return bridge.eval(), version("transformer-lens")


@torch.no_grad()
def codi_loop(model: CodiModel, questions: list[str], forward: Forward) -> Tensor | None:
    """Left-padded questions, then latent thoughts, with one cache."""
    rows = [model.question_ids(question) for question in questions]
    ids, mask = padded(model, rows, left=True)
    cache = DynamicCache(config=model.language_model.config)
    embeds = model.language_model.get_input_embeddings()(ids)
    steps = []
    for _ in range(LATENTS + 1):
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -embeds.shape[1] :]
        hidden, kept = forward(embeds, mask, positions, cache)
        if kept is not None:
            steps.append(torch.stack([each[:, -1] for each in kept], dim=1))
        embeds = model.projection(hidden[:, -1])[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return torch.stack(steps, dim=1) if steps else None


@torch.no_grad()
def token_loop(model: CodiModel, texts: list[str], forward: Forward) -> Tensor | None:
    """Right-padded texts."""
    rows = sorted((model.tokenizer(text)["input_ids"] for text in texts), key=len)
    ids, mask = padded(model, rows, left=False)
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    embeds = model.language_model.get_input_embeddings()(ids)
    _, kept = forward(embeds, mask, positions, None)
    return None if kept is None else torch.stack([each[mask.bool()] for each in kept])


def padded(model: CodiModel, rows: list[list[int]], *, left: bool) -> tuple[Tensor, Tensor]:
    """Ids and mask of a batch."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), model.tokens.pad)
    for index, row in enumerate(rows):
        start = longest - len(row) if left else 0
        ids[index, start : start + len(row)] = torch.tensor(row)
    return ids.to(model.device), (ids != model.tokens.pad).long().to(model.device)


def compare(runs: dict[str, Run], what: str, repeats: int) -> dict[str, float]:
    """Least seconds of each; they take turns, so that each meets a quiet moment."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    expected = runs["saeflow"]()
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            found = run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
            check_same(found, expected, what)
    least = {name: min(each) for name, each in seconds.items()}
    for name, best in least.items():
        values = ", ".join(f"{each:.2f}" for each in seconds[name])
        print(
            f"{what:14} {name:24} {best:7.3f} s, {best / least['saeflow']:5.2f} times ours ({values})"
        )
    return least


def check_same(found: Tensor | None, expected: Tensor, what: str) -> None:
    """Nobody is faster by keeping something else; hidden_states lacks the last block."""
    if found is not None:
        layers = 2 if what.endswith("thoughts") else 0
        known = expected.narrow(layers, 0, found.shape[layers])
        torch.testing.assert_close(found, known, rtol=1e-3, atol=1e-3)


def capture_to_disk(count: int) -> dict[str, float]:
    """Capture problems into files as the workflow does; what it took."""
    torch.set_num_threads(1)  # so small a model gains nothing by two
    settings = FreshModel(
        weights="fresh", family="llama", hidden_size=64, num_hidden_layers=2, intermediate_size=128
    )
    model = load_model(settings)
    problems = pa.table(
        {
            "problem": np.arange(count, dtype=np.int32),
            "question": ["x" * length for length in lengths(count, 217, 985)],
            "gold": np.zeros(count),
        }
    )
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        capture_all(
            problems,
            Path(folder) / "capture",
            lambda questions: capture_chunk(model, questions, settings),
            fingerprint="benchmark",
            provenance=Provenance(config="benchmark", seed=0),
        )
    return {"peak_mib": peak_mib(), "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    sys.exit(main())
