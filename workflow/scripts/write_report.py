"""Write the report page."""

from pathlib import Path

from saeflow.jobs import job
from saeflow.report.page import write_report

with job(snakemake):
    write_report(
        template=Path(snakemake.input.template),
        problems=[Path(path) for path in snakemake.input.problems],
        banks=[Path(path) for path in snakemake.input.banks],
        labels=[Path(path) for path in snakemake.input.labels],
        summaries=[Path(path) for path in snakemake.input.summaries],
        spec=snakemake.params.spec,
        page=Path(snakemake.output.page),
        plotly=Path(snakemake.output.plotly),
    )
