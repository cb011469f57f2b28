# saeflow: sparse-autoencoder interpretability studies, each number beside its chance level.
#
#   snakemake --cores all            the default run: offline, CPU, minutes
#   snakemake --cores all report     one target; see the end of this file for the others
#
# Everything lands in results/: datasets, capture, saes and features hold what studies read;
# results/{study}/{model}/ holds a study's public tables, parts/ below it what they are gathered
# from; logs and benchmarks mirror these paths. docs/ explains the rest.

from pathlib import Path

from snakemake.utils import min_version

min_version("9.19")


include: "workflow/rules/setup.smk"


configfile: Path(workflow.basedir, "config.yaml")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/common_shards.smk"
include: "workflow/rules/common_gsm8k.smk"
include: "workflow/rules/common_models.smk"
include: "workflow/rules/common_controls.smk"
include: "workflow/rules/common_hierarchy.smk"
include: "workflow/rules/common_decimals.smk"
include: "workflow/rules/common_specialists.smk"
include: "workflow/rules/common_scaling.smk"
include: "workflow/rules/common_released.smk"
include: "workflow/rules/common_ablation.smk"
include: "workflow/rules/failures.smk"
include: "workflow/rules/handlers.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/capture.smk"
include: "workflow/rules/released.smk"
include: "workflow/rules/released_check.smk"
include: "workflow/rules/saes.smk"
include: "workflow/rules/calibration.smk"
include: "workflow/rules/gsm8k.smk"
include: "workflow/rules/hierarchy.smk"
include: "workflow/rules/decimal_bug.smk"
include: "workflow/rules/specialists.smk"
include: "workflow/rules/scaling.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/reference.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.gsm8k.input,
        rules.hierarchy.input,
        rules.decimal_bug.input,
        rules.specialists.input,
        rules.scaling.input,
        rules.compare.input,
        rules.evaluation.input,
        rules.report.input,


include: "workflow/rules/placement.smk"
