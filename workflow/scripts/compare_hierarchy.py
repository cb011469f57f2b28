"""Put the hierarchy study's numbers beside chance and the untrained models."""

from pathlib import Path

from saeflow.artifacts.hierarchy import HIERARCHY, HIERARCHY_COMPARISON
from saeflow.artifacts.provenance import combine, config_digest
from saeflow.artifacts.tables import read_table, write_table
from saeflow.jobs import job
from saeflow.studies.compare.hierarchy import Compared, compare_hierarchy

with job(snakemake):
    spec = snakemake.params.spec
    tables = [read_table(Path(path), HIERARCHY) for path in snakemake.input.summaries]
    summaries = dict(zip(spec["models"], tables, strict=True))
    trained = [Compared(**each) for each in spec["trained"]]
    comparison = compare_hierarchy(summaries, trained)
    provenance = combine(*tables, config=config_digest(spec))
    write_table(comparison, Path(snakemake.output.comparison), HIERARCHY_COMPARISON, provenance)
