"""A hub cache in which every repository that a preset names is a tiny look-alike of itself.

    python -m tests.lookalikes.presets FOLDER

fills a folder, to be named by HF_HUB_CACHE beside HF_HUB_OFFLINE=1.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from saeflow.datasets.generated import generate_problems
from tests.configs import read_yaml
from tests.conftest import ROOT
from tests.hub_cache import put_repo
from tests.lookalikes import codi, saes
from tests.lookalikes.models import model_files

LATENTS = 512
"""Of every SAE."""
WIDTH = 16
CODI_SIZES = {
    "gpt2": codi.Sizes(layers=12, positions=1024),
    "llama": codi.Sizes(layers=16, positions=1024),
}
CODI = {"zen-E/CODI-gpt2": "gpt2", "zen-E/CODI-llama3.2-1b-Instruct": "llama"}
MODELS: dict[str, dict[str, Any]] = {
    "openai-community/gpt2": {"family": "gpt2", "layers": 12},
    "google/gemma-2-9b": {"family": "gemma2", "layers": 42},
    "meta-llama/Llama-3.1-8B-Instruct": {
        "family": "llama",
        "layers": 32,
        "dtype": "bfloat16",
        "chat": True,
    },
    "meta-llama/Llama-3.2-3B": {"family": "llama", "layers": 28, "dtype": "bfloat16"},
}
"""As many blocks as the released models have; everything else is tiny."""
SUBSETS = ("PubMed Abstracts", "FreeLaw", "StackExchange", "Wikipedia (en)")
SUBJECTS = (
    ("patients", "dose", "infection", "treatment"),
    ("court", "appeal", "statute", "defendant"),
    ("function", "error", "compile", "array"),
    ("village", "century", "river", "museum"),
)


def fill_cache(cache: Path) -> None:
    """Put look-alikes of whatever the presets name into a cache, under their revisions."""
    preset = read_yaml(ROOT / "workflow/presets/paper.yaml")
    for block in preset["models"].values():
        for each in (block, (block or {}).get("base")):
            if each and "repo" in each:
                put_repo(cache, each["repo"], each["revision"], _model(each["repo"]))
    for block in preset["dictionaries"].values():
        if block and "released" in block:
            _put_saes(cache, block["released"]["release"], block["released"]["revision"])
    files: dict[tuple[str, str], dict[str, bytes]] = {}
    for block in preset["datasets"].values():
        if block and "repo" in block:
            found = files.setdefault((block["repo"], block["revision"]), {})
            for name in block.get("files", [block.get("file")]):
                found[name] = _gsm8k(name) if "gsm8k" in block["repo"] else _pile()
    for (repo, revision), content in files.items():
        put_repo(cache, repo, revision, content, kind="dataset")


def _model(repo: str) -> dict[str, bytes]:
    if repo in CODI:
        family = CODI[repo]
        return codi.checkpoint_files(family, CODI_SIZES[family], form="bin")
    if repo == "meta-llama/Llama-3.2-1B-Instruct":
        return codi.base_files("llama", CODI_SIZES["llama"])
    if repo == "openai-community/gpt2":
        # The base of the CODI checkpoint and the model of study 4, in one.
        return codi.base_files("gpt2", CODI_SIZES["gpt2"])
    return model_files(**MODELS[repo])


def exact_sae(l0: int, *, threshold: float | None = None) -> saes.Weights:
    """An SAE that gives every activation back, each by as many latents as asked for.

    Of each dimension one latent holds what is above 0 and one what is below; dimensions share the
    number of latents, those of one dimension being the same with a part of the decoder each. Others
    never fire, so that the SAEs of a release have as many latents in every layer.
    """
    copies = [l0 // WIDTH + (dimension < l0 % WIDTH) for dimension in range(WIDTH)]
    rows = torch.arange(WIDTH).repeat_interleave(torch.tensor(copies))
    part = 1 / torch.tensor(copies, dtype=torch.float32)[rows]
    one = torch.eye(WIDTH)[rows]
    W_enc = torch.cat([one, -one]).T.contiguous()
    W_dec = torch.cat([one, -one]) * torch.cat([part, part])[:, None]
    spare = LATENTS - 2 * l0
    W_enc = torch.cat([W_enc, torch.zeros(WIDTH, spare)], dim=1)
    W_dec = torch.cat([W_dec, torch.eye(WIDTH)[torch.arange(spare) % WIDTH]])
    b_enc = torch.cat([torch.zeros(2 * l0), -torch.ones(spare)])
    known = None if threshold is None else torch.full((LATENTS,), threshold)
    return saes.Weights(W_enc, b_enc, W_dec, torch.zeros(WIDTH), known)


def _put_saes(cache: Path, release: str, revision: str) -> None:
    """Every repository of a release, in which SAEs have the L0 that SAELens' registry says."""
    repos: dict[str, dict[str, bytes]] = {}
    for repo, files in _sae_files(release):
        repos.setdefault(repo, {}).update(files)
    for repo, files in repos.items():
        commit = revision if len(revision) == 40 else hashlib.sha1(repo.encode()).hexdigest()
        put_repo(cache, repo, commit, files)


def _sae_files(release: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    known = get_pretrained_saes_directory()[release]
    for sae_id, path in known.saes_map.items():
        if release == "gpt2-small-res-jb":
            if not sae_id.endswith("hook_resid_pre"):
                continue
            layer = int(sae_id.split(".")[1])
            weights = exact_sae(max(WIDTH, int(known.expected_l0[sae_id])))
            yield known.repo_id, saes.res_jb_files(weights, layer)
        elif release.startswith("gemma-scope"):
            if "width_16k" in sae_id:
                weights = exact_sae(max(WIDTH, int(path.rsplit("_", 1)[1])), threshold=1e-6)
                yield known.repo_id, saes.gemma_scope_files(weights, path)
        else:
            layer = int(sae_id[1:].split("m")[0])
            scale = known.norm_scaling_factor[sae_id]
            weights = exact_sae(50, threshold=1e-6)
            yield known.repo_id, saes.llama_scope_files(weights, layer, scale)


def _gsm8k(name: str) -> bytes:
    problems = generate_problems(n_train=240, n_validation=0, seed=7 if "train" in name else 8)
    table = pa.table(
        {
            "question": [each.question for each in problems],
            "answer": [each.answer for each in problems],
        }
    )
    target = io.BytesIO()
    pq.write_table(table, target)
    return target.getvalue()


def _pile() -> bytes:
    """Documents of several subsets that differ in their words, one JSON object per line, zstd."""
    generator = torch.Generator().manual_seed(0)

    def drawn(count: int, below: int) -> list[int]:
        return torch.randint(below, (count,), generator=generator).tolist()

    lines = []
    for number in range(240):
        subset = number % len(SUBSETS)
        words = ["the", "of", "a", "in", "and", *SUBJECTS[subset]]
        text = " ".join(words[each] for each in drawn(20 + drawn(1, 30)[0], len(words)))
        line = {"text": f"{text} {number}.", "meta": {"pile_set_name": SUBSETS[subset]}}
        lines.append(json.dumps(line))
    target = pa.BufferOutputStream()
    with pa.CompressedOutputStream(target, "zstd") as stream:
        stream.write("\n".join(lines).encode())
    found: bytes = target.getvalue().to_pybytes()
    return found


if __name__ == "__main__":
    fill_cache(Path(sys.argv[1]))
