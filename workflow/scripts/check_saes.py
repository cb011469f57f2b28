"""Read released SAEs on a few hundred tokens and keep them for the studies if they give what they should."""

from pathlib import Path

from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.files import atomic_folder
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table
from saeflow.device import resolve_device, set_threads
from saeflow.interventions.released.check import check_released, write_checked
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], wanted.model)
    source, name = Path(wanted.bank), snakemake.wildcards.dictionary
    texts = read_table(Path(wanted.texts), TEXTS)
    found = check_released(
        model.to(resolve_device()),
        source,
        texts,
        name,
        judged=spec.control is None,
        must_pass=given["must_pass"],
    )
    provenance = inherit(
        texts,
        config=config_digest(given),
        seed=0,
        model_revision=model.revision,
        packages=("torch", "transformers", "sae-lens"),
    )
    with atomic_folder(Path(snakemake.output.bank)) as folder:
        write_checked(found, source, folder, name, provenance)
