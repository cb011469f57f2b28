"""Write the report, and the same as an archive."""

from pathlib import Path

from saeflow.artifacts.files import atomic_folder
from saeflow.jobs import job
from saeflow.report.report import ReportFiles, write_report
from saeflow.report.site import write_archive

with job(snakemake):
    found, spec = snakemake.input, snakemake.params.spec
    compared = {Path(path).stem: Path(path) for path in found.comparisons}
    files = ReportFiles(
        datasets=sorted({Path(path).parent for path in found.datasets}),
        studied=sorted({Path(path).parent for path in found.studied}),
        banks=[Path(path) for path in found.banks],
        comparison=compared["gsm8k"],
        evaluations=[Path(path) for path in found.evaluations],
        curves=dict(zip(spec["evaluated"]["curves"], map(Path, found.curves), strict=True)),
        calibration=compared.get("calibration"),
        matched=compared.get("capacity"),
        hierarchy=sorted({Path(path).parent for path in found.hierarchy}),
        hierarchies=compared.get("hierarchy"),
        decimal_bug=sorted({Path(path).parent for path in found.decimal_bug}),
        specialists=sorted({Path(path).parent for path in found.specialists}),
        alignment=next(map(Path, found.alignment), None),
        scaling=[Path(path) for path in found.scaling],
    )
    target = Path(snakemake.output.folder)
    with atomic_folder(target) as folder:
        write_report(files, templates=Path(found.templates[0]).parent, spec=spec, folder=folder)
    write_archive(target, Path(snakemake.output.archive))
