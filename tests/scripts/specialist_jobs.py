"""The jobs of the study of specialists, run one by one on a user's own pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from saeflow.config.specialists import (
    DiscoverySettings,
    PoolSettings,
    PublishedPools,
    SpecialistsCalibrated,
)
from saeflow.models.directories import save_directory
from saeflow.models.tokenizer import byte_tokenizer
from tests.scripts.adapters import adapter
from tests.small_models import bytes_with_begin, small_model, with_tokenizer

SIGNS = ["a", "é", "今", "😀", "ß"]
"""One character each, of which the first is also one token."""
PAIRS: dict[str, list[dict[str, str]]] = {
    "math_pairs_simple": [
        {
            "symbolic": f"{n}+2",
            "verbal": f"{n} plus two",
            "prose": f"Two more than {n}",
            "category": "addition",
            "expected": str(n + 2),
        }
        for n in range(1, 6)
    ],
    "python_pairs": [
        {"code": sign, "pseudo": f"show {sign}{sign}", "description": "output"} for sign in SIGNS
    ],
    "social_pairs": [
        {
            "full_social": f"so {sign}🎉 happy",
            "partial_social": f"今日は良い{sign}天気",
            "standard": f"The weather {sign} is fine today.",
            "meaning": "weather",
        }
        for sign in SIGNS
    ],
}
CATEGORIES = {
    "baseline_categories": {
        "Short": [f"s{n}" for n in range(4)],
        "日本": ["山", "川", "山川", "空"],
    }
}
CALIBRATED = SpecialistsCalibrated.model_validate(
    {
        "splits": 2,
        "sizes": [1, 2],
        "overlap_splits": 2,
        "relabelings": 2,
        "permutations": 19,
        "tasks": {"others": 2, "permutations": 19},
        "ablation": {"pairs": 2, "items": 2, "draws": 1, "permutations": 19},
        "examples": 1,
    }
).model_dump(mode="json")
POOLING = {"published": PublishedPools(), "calibrated": PoolSettings()}
MODELS = ("begin_is_0", "no_begin")


class Job:
    """What jobs read of one model."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        tokenizer = byte_tokenizer()
        if name == "begin_is_0":
            tokenizer = bytes_with_begin(0, eos_token="<s>", padding_side="left")
        self.model = with_tokenizer(
            small_model("llama" if name == "begin_is_0" else "gpt2"), tokenizer
        )
        save_directory(self.model, self.folder / "model")
        self.files = sorted(str(path) for path in (self.folder / "model").iterdir())
        self.bank = str(self.folder / "bank")
        self.names = {"model": name, "dictionary": "own", "seed": "0"}

    def spec(self, **changes: Any) -> dict[str, Any]:
        return {"model": {"weights": "path", **changes}, "control": None, "threads": 1}

    def paths(self, *tables: str) -> list[str]:
        return [str(self.folder / f"{table}.parquet") for table in tables]

    def pool(self, texts: Path, *tables: str, **changes: Any) -> None:
        spec = {"model": self.spec(**changes), "pooling": _plain(POOLING)}
        adapter(
            "pool_texts",
            self.folder,
            input={"model": self.files, "bank": self.bank, "texts": str(texts)},
            output=dict(zip(("pooled", "lengths"), self.paths(*tables), strict=True)),
            params={"spec": spec},
            wildcards=self.names,
        )


def _plain(blocks: dict[str, Any]) -> dict[str, Any]:
    return {name: block.model_dump(mode="json") for name, block in blocks.items()}


def match(folder: Path, pairs: Any = PAIRS, categories: Any = CATEGORIES) -> Path:
    """The texts of files of one's own."""
    folder.mkdir(exist_ok=True)
    given = [("pairs", pairs)] + [("categories", categories)] * (categories is not None)
    paths = [folder / f"{name}.json" for name, _ in given]
    for path, (_, values) in zip(paths, given, strict=True):
        path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    target = folder / "texts.parquet"
    adapter(
        "match_texts",
        folder,
        input={"source": [str(path) for path in paths]},
        output={"texts": str(target)},
        params={"spec": {"source": "path"}},
    )
    return target


def train(job: Job, folder: Path) -> None:
    """SAEs of one block."""
    source = folder / "read.txt"
    source.write_text("".join(f"Text {n} is 今 short.\n" for n in range(9)), encoding="utf-8")
    texts, capture = str(job.folder / "read.parquet"), str(job.folder / "capture")
    adapter(
        "load_texts",
        folder,
        input={"source": [str(source)]},
        output={"texts": texts},
        params={"spec": {"source": "text_file"}},
    )
    adapter(
        "capture_tokens",
        folder,
        input={"texts": texts, "model": job.files},
        output={"capture": capture},
        params={"code": "c", "spec": {"model": job.spec(), "hooks": ["resid_post"]}},
    )
    recipe = {"dataset": "own", "hook": "resid_post", "layers": [1], "d_sae": 12, "k": 3,
              "training": {"epochs": 1}}  # fmt: skip
    adapter(
        "train_bank",
        folder,
        input={"examples": texts, "capture": capture},
        output={"banks": [job.bank]},
        params={"spec": {"seed": 0, "banks": {"own": {"dictionary": recipe, "threads": 1}}}},
    )


def ask(job: Job, texts: Path, mixture: Path, judge: dict[str, Any]) -> None:
    adapter(
        "ask_specialists",
        job.folder,
        input={"model": job.files, "texts": str(texts), "mixture": str(mixture), "judge": []},
        output=dict(zip(("tasks", "answers"), job.paths("tasks", "answers"), strict=True)),
        params={"spec": {"model": job.spec(), "answer_tokens": 2, "judge": judge}},
    )


def analyse(job: Job, texts: Path, mixture: Path) -> None:
    """Everything that is done of one bank."""
    pooled, lengths = job.paths("pooled", "lengths")
    found = {"texts": str(texts), "pooled": pooled, "lengths": lengths}
    published = DiscoverySettings().model_dump(mode="json")
    adapter(
        "find_specialists",
        job.folder,
        input=found,
        output=job.paths("features", "similarities", "numbers"),
        params={"spec": {"published": published, "calibrated": CALIBRATED, "threads": 1}},
        wildcards=job.names,
    )
    ask(job, texts, mixture, {"kind": "exact"})
    given = {**found, "mixture": str(mixture), "model": job.files, "bank": job.bank}
    adapter(
        "try_specialists",
        job.folder,
        input={
            **given,
            "asked": job.paths("tasks", "answers"),
            "features": job.paths("features")[0],
        },
        output=job.paths("activations", "behaviour", "effects", "examples", "tried"),
        params={"code": "c", "spec": {"model": job.spec(), "calibrated": CALIBRATED}},
        wildcards=job.names,
    )
