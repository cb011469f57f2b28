"""Write the report."""

from pathlib import Path

from saeflow.artifacts.files import atomic_folder
from saeflow.jobs import job
from saeflow.report.models import write_models_page
from saeflow.report.page import write_report

with job(snakemake), atomic_folder(Path(snakemake.output.folder)) as folder:
    write_report(
        template=Path(snakemake.input.template),
        problems=[Path(path) for path in snakemake.input.problems],
        banks=[Path(path) for path in snakemake.input.banks],
        labels=[Path(path) for path in snakemake.input.labels],
        summaries=[Path(path) for path in snakemake.input.summaries],
        spec=snakemake.params.spec,
        folder=folder,
    )
    evaluated = snakemake.params.spec["evaluated"]
    write_models_page(
        template=Path(snakemake.input.abilities),
        evaluations=[Path(path) for path in snakemake.input.evaluations],
        curves=dict(zip(evaluated["curves"], map(Path, snakemake.input.curves), strict=True)),
        latents=evaluated["latents"],
        folder=folder,
    )
