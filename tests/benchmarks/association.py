"""Time to test features against tokens at the study's size: ours beside its loop over SciPy.

    python tests/benchmarks/association.py [--repeats 10] [--permutations 200] [--sample 40]

96 SAEs of 512 features, 1,000 problems, 628 tokens with the real table's thin support. Ours is the
workflow's own script from Parquet to Parquet. The study's loop takes hours, so it runs on a sample of
one layer's features, and times per tested feature are compared; both must keep the same pairs. Then
labels are permuted: the time of one permutation is given in units of the matrix product that counts
the joint examples, of the same sizes and in the same run, for the published and for the exact test.
`bar` is the ratio to reach, which depends on whether the CPU multiplies bytes by itself. Other jobs
slow a run and never speed it up, so ours is the least of several and the loop's time is its thread's
own, without waiting; `ratio_cpu` compares processor time on both sides, all threads of ours together.
Inputs are made and the loop runs in other processes, so that the peak of memory is that of the timed
script. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import torch
from _memory import peak_mib
from scipy.stats import chi2_contingency

from saeflow.artifacts.catalog import ASSOCIATION, COT_TOKENS, FEATURES, PROBLEMS, TESTED
from saeflow.artifacts.features import read_features, shape_metadata
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.studies import AssociationSettings, LabelSettings
from saeflow.stats.contingency import PublishedTest
from saeflow.stats.discovery import ExactTest
from saeflow.stats.joint import BLOCK, ones_and_zeros, product
from saeflow.studies.gsm8k.association import LayerFeatures, TokenMatrix, association_inputs

SCRIPT = Path(__file__).parents[2] / "workflow" / "scripts" / "associate.py"
PROBLEM_COUNT, LAYERS, STEPS, D_SAE, K = 1000, 16, 6, 512, 100
SUPPORTS = {1: 350, 3: 143, 10: 74, 150: 61}
BYTES = ("avx512_vnni", "avx_vnni", "amx_int8")
"""Flags of CPUs with an instruction for products of bytes."""


def main() -> int:
    """Run the benchmark and return its exit code."""
    options = parse()
    torch.set_num_threads(2)
    if options.part:
        print(json.dumps(PARTS[options.part](Path(options.folder), options)))
        return 0
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    found = [flag for flag in BYTES if flag in flags]
    report: dict[str, object] = {
        "name": "association",
        "ratio": None,
        "bar": None,
        "peak_mib": None,
    }
    with tempfile.TemporaryDirectory() as folder:
        made = part("make", folder, options)
        ours, loop = part("script", folder, options), part("loop", folder, options)
        permuted = part("permute", folder, options)
    seconds, per_feature = float(str(ours["seconds"])), float(str(loop["seconds_per_feature"]))
    tested = int(str(ours["tested"]))
    report |= {"ratio": round(per_feature * tested / seconds, 1), "bar": 1500 if found else 800}
    report["ratio_cpu"] = round(per_feature * tested / float(str(ours["cpu_seconds"])), 1)
    report |= {"peer": "the study's loop over scipy.stats.chi2_contingency", "cpu": found}
    report |= ours | loop | permuted
    print(f"{made['rows']:,} stored activations, {tested:,} features tested: {seconds:.2f} s")
    print(f"SciPy's loop: {per_feature * 1e3:.0f} ms per tested feature, extrapolated")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(f"bytes by the CPU itself: {', '.join(found) or 'no'}; bar {report['bar']}")
    print(json.dumps(report))
    return 0


def parse() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--sample", type=int, default=40, help="features that SciPy's loop tests")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def part(name: str, folder: str, options: argparse.Namespace) -> dict[str, object]:
    """Run one part in a process of its own and return what it prints."""
    arguments = ["--part", name, "--folder", folder]
    for key in ("repeats", "layers", "permutations", "sample"):
        arguments += [f"--{key}", str(getattr(options, key))]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def make(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Write problems, tokens and activations: of each SAE, 100 features are active per problem."""
    generator = np.random.default_rng(0)
    source = Provenance(config="benchmark")
    write_table(problem_table(), folder / "problems.parquet", PROBLEMS, source)
    write_table(token_table(generator), folder / "tokens.parquet", COT_TOKENS, source)
    (folder / "features").mkdir()
    layers = range(options.layers)
    shape = Provenance(config="benchmark", extra=shape_metadata(range(STEPS), D_SAE, layers))
    rows = 0
    for layer in layers:
        # The largest of noisy preferences: rare and frequent features, and exactly K per problem.
        taste = generator.normal(0, 2.6, (STEPS, 1, D_SAE))
        noise = generator.gumbel(size=(STEPS, PROBLEM_COUNT, D_SAE))
        kept = np.sort(np.argpartition(-(taste + noise), K)[..., :K])
        step, problem, _ = np.indices(kept.shape).reshape(3, -1)
        values = generator.normal(size=kept.size).astype(np.float32)
        columns = {"problem": problem, "layer": np.full(kept.size, layer), "step": step}
        columns |= {"feature": kept.ravel(), "value": values}
        path = folder / "features" / f"layer{layer:02d}.parquet"
        write_table(columns, path, FEATURES, shape)
        rows += kept.size
    return {"rows": rows}


def problem_table() -> pa.Table:
    """Problems without text, all of them analysed."""
    columns: dict[str, pa.Array] = {}
    for column in PROBLEMS.columns:
        empty = "" if column.type == pa.string() else 0
        columns[column.name] = pa.repeat(pa.scalar(empty).cast(column.type), PROBLEM_COUNT)
    numbers = np.arange(PROBLEM_COUNT)
    columns |= {"problem": pa.array(numbers), "analysed": pa.array(numbers >= 0)}
    return pa.table(columns)


def token_table(generator: np.random.Generator) -> dict[str, object]:
    """Tokens of which most occur once, as in the real table."""
    present = np.zeros((PROBLEM_COUNT, sum(SUPPORTS.values())), bool)
    supports = np.repeat(list(SUPPORTS), list(SUPPORTS.values()))
    for token, support in enumerate(supports):
        present[generator.choice(PROBLEM_COUNT, support, replace=False), token] = True
    problem, token = np.nonzero(present)
    position = np.arange(len(problem)) - np.searchsorted(problem, problem)
    nothing = np.zeros(len(problem), int)
    columns = {"problem": problem, "calculation": nothing, "position": position}
    texts = {"token": [str(each) for each in token], "kind": ["number"] * len(token)}
    return columns | texts


def script(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Time the workflow's script; the first run does not count."""
    times = np.array([associate(folder) for _ in range(options.repeats + 1)])[1:]
    seconds, processor = times.min(0).tolist()
    peak = round(peak_mib())
    tested = read_table(folder / "tested.parquet", TESTED)["tested"].to_numpy()
    pairs = len(read_table(folder / "association.parquet", ASSOCIATION))
    found = {"seconds": round(seconds, 3), "cpu_seconds": round(processor, 3), "pairs": pairs}
    counts = {"features": len(tested), "tested": int(tested.sum())}
    return found | counts | {"peak_mib": peak}


def associate(folder: Path) -> tuple[float, float]:
    """Run the script, with a stand-in for Snakemake's object; its seconds and those of all threads."""
    paths = {name: str(folder / f"{name}.parquet") for name in ("problems", "tokens")}
    results = {
        name: str(folder / f"{name}.parquet") for name in ("tested", "association", "labels")
    }
    tests = {"layers": "all", "association": AssociationSettings().model_dump()}
    spec = {"tests": tests, "labels": LabelSettings().model_dump()}
    snakemake = SimpleNamespace(
        input=SimpleNamespace(**paths, features=str(folder / "features")),
        output=SimpleNamespace(**results),
        params=SimpleNamespace(spec=spec),
        wildcards=SimpleNamespace(dataset="d", dictionary="k", seed="0"),
        log=[],
    )
    start, own = time.perf_counter(), time.process_time()
    runpy.run_path(str(SCRIPT), init_globals={"snakemake": snakemake}, run_name="__main__")
    return time.perf_counter() - start, time.process_time() - own


def loop(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Time the study's loop on some features of the first layer; pairs must be the script's."""
    layers, tokens = inputs(folder, [0])
    criteria = AssociationSettings()
    analysed = np.flatnonzero(layers[0].active.sum(0) >= criteria.min_active)[: options.sample]
    # One thread's own time: to wait for other jobs would make the peer look slow.
    start = time.thread_time()
    kept = scipy_loop(layers[0].active, analysed, tokens, criteria)
    seconds = (time.thread_time() - start) / len(analysed)
    table = read_table(folder / "association.parquet", ASSOCIATION).to_pandas()
    columns = table["step"] * D_SAE + table["feature"]
    ours = table[(table["layer"] == 0) & columns.isin(analysed)]
    assert ours.groupby(["step", "feature"]).size().max() < criteria.keep
    assert kept == set(zip(columns[ours.index], ours["token"], strict=True))
    assert kept
    return {"seconds_per_feature": seconds, "sample_pairs": len(kept)}


def scipy_loop(
    active: np.ndarray, features: np.ndarray, tokens: TokenMatrix, criteria: AssociationSettings
) -> set[tuple[int, str]]:
    """Test pair by pair, as the study does."""
    kept = set()
    for feature in features:
        fires = active[:, feature]
        for token, name in enumerate(tokens.tokens):
            has = tokens.present[:, token]
            a, b = int((fires & has).sum()), int((fires & ~has).sum())
            c, d = int((~fires & has).sum()), int((~fires & ~has).sum())
            if min(a, b, c, d) == 0:
                continue
            _, p_value, _, _ = chi2_contingency([[a, b], [c, d]])
            ratio = (a / (a + b)) / (c / (c + d))
            if p_value < criteria.p_value and ratio >= criteria.min_enrichment:
                kept.add((int(feature), name))
    return kept


def permute(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Time permutations of the token rows, in units of one product of the same sizes."""
    layers, tokens = inputs(folder, "all")
    device, criteria = torch.device("cpu"), AssociationSettings()
    support = tokens.present.sum(0)
    published = [PublishedTest(each.active, support, criteria, device) for each in layers]
    active = np.concatenate([each.active for each in layers], 1)
    exact = ExactTest(active, support, device)
    analysed = active[:, active.sum(0) >= criteria.min_active].T
    rows = [analysed[start : start + BLOCK] for start in range(0, len(analysed), BLOCK)]
    blocks = [ones_and_zeros(each, device) for each in rows]
    kind = torch.int32 if blocks[0].dtype == torch.int8 else torch.float32
    room = torch.empty((BLOCK, len(support)), dtype=kind)

    def count(present: np.ndarray) -> None:
        labels = ones_and_zeros(present, device)
        for block in blocks:
            product(block, labels, room[: len(block)])

    def published_pairs(present: np.ndarray) -> None:
        for test in published:
            test.pairs(present)

    def exact_tests(present: np.ndarray) -> None:
        exact.smallest(present)
        exact.discoveries(present)

    runs = {"product": count, "published": published_pairs, "exact": exact_tests}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    generator = np.random.default_rng(1)
    for _ in range(options.permutations):
        present = tokens.present[generator.permutation(PROBLEM_COUNT)]
        # They take turns, so that what slows the machine slows all of them.
        for name, run in runs.items():
            start = time.perf_counter()
            run(present)
            seconds[name].append(time.perf_counter() - start)
    least = {name: min(each) for name, each in seconds.items()}
    return {
        "permutations": options.permutations,
        "product_seconds": round(least["product"], 4),
        "products_per_permutation": round(least["published"] / least["product"], 2),
        "products_per_exact_permutation": round(least["exact"] / least["product"], 2),
        "peak_mib_permutations": round(peak_mib()),
    }


def inputs(folder: Path, layers: list[int] | str) -> tuple[list[LayerFeatures], TokenMatrix]:
    """Dense activity and tokens, as the scripts read them."""
    problems = read_table(folder / "problems.parquet", PROBLEMS)
    tokens = read_table(folder / "tokens.parquet", COT_TOKENS)
    return association_inputs(problems, tokens, read_features(folder / "features", layers))


PARTS = {"make": make, "script": script, "loop": loop, "permute": permute}


if __name__ == "__main__":
    raise SystemExit(main())
