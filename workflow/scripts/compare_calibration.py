"""Put every rate beside chance, the untrained model and the control dictionaries."""

from pathlib import Path

from saeflow.artifacts.calibration import CALIBRATION
from saeflow.artifacts.catalog import SUMMARY
from saeflow.artifacts.provenance import combine, config_digest
from saeflow.artifacts.tables import read_table, write_table
from saeflow.jobs import job
from saeflow.studies.compare.calibration import calibration_table

with job(snakemake):
    spec = snakemake.params.spec
    summaries = [read_table(Path(path), SUMMARY) for path in snakemake.input.summaries]
    table = calibration_table(dict(zip(spec["models"], summaries, strict=True)), spec["studied"])
    provenance = combine(*summaries, config=config_digest(spec))
    write_table(table, Path(snakemake.output.calibration), CALIBRATION, provenance)
