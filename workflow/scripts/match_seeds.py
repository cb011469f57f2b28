"""Match the features of every two SAE seeds of the same dictionary and data set."""

from pathlib import Path

from saeflow.artifacts.calibration import DISCOVERIES, MATCHES, STABILITY
from saeflow.artifacts.catalog import PROBLEMS
from saeflow.artifacts.features import read_features
from saeflow.artifacts.provenance import combine, config_digest
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.studies import StabilitySettings
from saeflow.datasets.selection import held_out_numbers
from saeflow.jobs import job
from saeflow.saes.encoding import open_bank
from saeflow.studies.gsm8k.stability import SeedFeatures, match_runs


def opened(place: int) -> SeedFeatures:
    run = spec["runs"][place]
    features = read_features(Path(given.features[place]), spec["layers"][run["dictionary"]])
    bank = open_bank(Path(given.banks[place]))
    return SeedFeatures(run["seed"], bank, features, discoveries[place])


with job(snakemake):
    spec, given = snakemake.params.spec, snakemake.input
    tables = [read_table(Path(path), PROBLEMS) for path in given.problems]
    problems = dict(zip(spec["datasets"], tables, strict=True))
    discoveries = [read_table(Path(path), DISCOVERIES) for path in given.discoveries]
    held_out = [
        held_out_numbers(problems[data], spec["held_out"][run["dictionary"]][data])
        for run in spec["runs"]
        for data in [run["dataset"]]
    ]
    settings = StabilitySettings.model_validate(spec["stability"])
    matches, stability = match_runs(spec["runs"], opened, held_out, settings)
    provenance = combine(*tables, *discoveries, config=config_digest(spec))
    write_table(matches, Path(snakemake.output.matches), MATCHES, provenance)
    write_table(stability, Path(snakemake.output.stability), STABILITY, provenance)
