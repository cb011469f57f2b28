"""Time to test features against tokens: ours beside the study's loop over SciPy.

    python tests/benchmarks/association.py [--features 3072] [--sample 60]

Sizes are the study's: one layer of six SAEs with 512 features, 1,000 problems, 628 tokens with the
real table's thin support. The loop takes minutes, so it runs on a sample of the features, and its
time per feature is compared. Both must keep the same pairs. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np
import torch
from scipy.stats import chi2_contingency

from saeflow.config.studies import AssociationSettings
from saeflow.stats.contingency import published_pairs


def main() -> int:
    """Run the benchmark and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=3072)
    parser.add_argument("--sample", type=int, default=60, help="features that SciPy's loop tests")
    options = parser.parse_args()
    torch.set_num_threads(2)
    active, present = matrices(options.features)
    criteria = AssociationSettings()
    devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    report: dict[str, object] = {"name": "association"}
    for device in devices:
        published_pairs(active[:, :64], present, criteria, device)  # warm-up
        start = time.perf_counter()
        pairs = published_pairs(active, present, criteria, device)
        suffix = "" if device.type == "cpu" else f"_{device.type}"
        report[f"seconds{suffix}"] = round(time.perf_counter() - start, 3)
    start = time.perf_counter()
    kept = scipy_loop(active[:, : options.sample], present, criteria)
    loop = (time.perf_counter() - start) / options.sample
    first = pairs.feature < options.sample
    assert kept == set(zip(pairs.feature[first].tolist(), pairs.label[first].tolist(), strict=True))
    tests = int((active.sum(0) >= criteria.min_active).sum()) * present.shape[1]
    ours = float(str(report["seconds"])) / options.features
    print(
        f"{tests:,} tests: ours {ours * 1e3:.3f} ms per feature, SciPy's loop {loop * 1e3:.1f} ms"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report |= {"ratio": round(loop / ours, 1), "peer": "a loop over scipy.stats.chi2_contingency"}
    report |= {"tests": tests, "pairs": len(pairs.feature), "peak_mib": round(peak)}
    print(json.dumps(report))
    return 0


def matrices(features: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of mixed frequency, and tokens of which most occur once, as in the real table."""
    generator = np.random.default_rng(0)
    rates = 10 ** generator.uniform(-2.5, -0.05, features)
    active = generator.random((1000, features)) < rates
    support = np.concatenate([np.full(350, 1), np.full(143, 3), np.full(74, 10), np.full(61, 150)])
    present = np.zeros((1000, len(support)), bool)
    for token, count in enumerate(support):
        present[generator.choice(1000, count, replace=False), token] = True
    return active, present


def scipy_loop(
    active: np.ndarray, present: np.ndarray, criteria: AssociationSettings
) -> set[tuple[int, int]]:
    """Test pair by pair, as the study does."""
    kept = set()
    for feature in range(active.shape[1]):
        fires = active[:, feature]
        if fires.sum() < criteria.min_active:
            continue
        for token in range(present.shape[1]):
            has = present[:, token]
            a, b = int((fires & has).sum()), int((fires & ~has).sum())
            c, d = int((~fires & has).sum()), int((~fires & ~has).sum())
            if min(a, b, c, d) == 0:
                continue
            _, p_value, _, _ = chi2_contingency([[a, b], [c, d]])
            ratio = (a / (a + b)) / (c / (c + d))
            if p_value < criteria.p_value and ratio >= criteria.min_enrichment:
                kept.add((feature, token))
    return kept


if __name__ == "__main__":
    raise SystemExit(main())
