"""Load, split and mark the problems of a data set."""

from pathlib import Path

from pydantic import TypeAdapter

from saeflow.artifacts.catalog import PROBLEMS
from saeflow.artifacts.provenance import Provenance, config_digest
from saeflow.artifacts.tables import write_table
from saeflow.config.datasets import ProblemSettings
from saeflow.datasets.sources import load_problems
from saeflow.jobs import job

with job(snakemake):
    spec = snakemake.params.spec
    source = Path(snakemake.input.source[0]) if snakemake.input.source else None
    located = {**spec, "path": str(source)} if source else spec
    problems = load_problems(TypeAdapter(ProblemSettings).validate_python(located), source)
    provenance = Provenance(config_digest(spec), dataset_revision=problems.revision)
    write_table(problems.table, Path(snakemake.output.problems), PROBLEMS, provenance)
