"""Rank, name and validate the features of a bank as the hierarchy study did."""

from functools import partial
from pathlib import Path

from saeflow.artifacts.catalog import PROBLEMS
from saeflow.artifacts.features import read_features
from saeflow.artifacts.hierarchy import HIERARCHY, RANKS, SWAP_PAIRS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.hierarchy import HierarchyRules
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job, run_keys
from saeflow.saes.encoding import open_bank
from saeflow.saes.sites import read_sites
from saeflow.studies.hierarchy.published import published_hierarchy

with job(snakemake):
    spec, given = snakemake.params.spec, snakemake.input
    set_threads(spec["threads"])
    problems = read_table(Path(given.problems), PROBLEMS)
    features = list(read_features(Path(given.features), "all"))
    found = published_hierarchy(
        problems,
        features,
        open_bank(Path(given.bank)).to(resolve_device()),
        partial(read_sites, Path(given.capture), spec["layer_convention"]),
        HierarchyRules.model_validate(spec["published"]),
        run_keys(snakemake),
        spec["held_out"],
    )
    provenance = inherit(features[0].table, config=config_digest(spec))
    tables = zip(found, (RANKS, SWAP_PAIRS, HIERARCHY), strict=True)
    for (table, artifact), path in zip(tables, snakemake.output, strict=True):
        write_table(table, Path(path), artifact, provenance)
