"""Tables of the run itself: what was asked for, on what, with which files and in what time."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import INDEX, REAL, TEXT, VALUES
from saeflow.artifacts.schema import Artifact, Column

RUN_FOLDER = "results/run"
"""Below the folder of the run. Times and machines differ between equal runs, so that no comparison of
results reads it."""

_MAKER = Column(
    "rule",
    TEXT,
    "Rule of this configuration that makes it; null: none, it was left by another.",
    nullable=True,
)

RUN_CONFIGURATION = Artifact(
    "run_configuration",
    1,
    "The configuration of the run, defaults included, with its digest in the metadata.",
    (
        Column("key", TEXT, "Path of the key, joined with dots."),
        Column("value", TEXT, "Its value, as JSON."),
    ),
    ("key",),
)

RUN_ENVIRONMENT = Artifact(
    "run_environment",
    1,
    "Software, and the machine that Snakemake ran on; jobs of a cluster ran elsewhere.",
    (
        Column("part", TEXT, "run, software, machine, gpu or package."),
        Column("name", TEXT, "What is told."),
        Column("value", TEXT, "As the system tells it."),
    ),
    ("part", "name"),
)

RUN_SOURCES = Artifact(
    "run_sources",
    1,
    "Models and data sets that results were made from.",
    (
        Column("kind", TEXT, "model or data set."),
        Column("name", TEXT, "By its name in the configuration."),
        Column("origin", TEXT, "Where the configuration takes it from."),
        Column(
            "revision",
            TEXT,
            "Commit, or digest of the content, that results carry; null: no result was made.",
            nullable=True,
        ),
        Column(
            "seed", pa.int64(), "Seed of what is made here; null: there is none.", nullable=True
        ),
    ),
    ("kind", "name"),
)

RUN_ARTIFACTS = Artifact(
    "run_artifacts",
    1,
    "Every file of the results with its digest, and what its metadata say of where it comes from.",
    (
        Column("path", TEXT, "Relative to the folder of the run."),
        _MAKER,
        Column("kind", TEXT, "Kind of table; of what is no table, the end of its name."),
        Column("schema_version", INDEX, "Version of the kind; null: no table.", nullable=True),
        Column("rows", pa.int64(), "Rows of the table; null: no table.", nullable=True),
        Column("bytes", pa.int64(), "Size.", unit="bytes"),
        Column("sha256", TEXT, "SHA-256 of the content, in hexadecimal."),
        Column(
            "config", TEXT, "Digest of what its stage read of the configuration.", nullable=True
        ),
        Column("seed", pa.int64(), "Seed of its stage.", nullable=True),
        Column("dataset_revision", TEXT, "Digest or commit of the data set.", nullable=True),
        Column("model_revision", TEXT, "Digest or commit of the model.", nullable=True),
        Column(
            "packages",
            pa.list_(TEXT),
            "Packages that decided the numbers, each with its version.",
            nullable=True,
        ),
    ),
    ("path",),
)

RUN_JOBS = Artifact(
    "run_jobs",
    1,
    "What each job took when it ran last, by Snakemake's benchmark files.",
    (
        Column("rule", TEXT, "Rule of the job."),
        Column("job", TEXT, "Path of its benchmark below results/benchmarks, without the ending."),
        Column("wildcards", pa.list_(TEXT), "Names and values in the paths, as name=value."),
        Column("latest", pa.bool_(), "Whether it ran in the latest run; else in one before."),
        Column("seconds", REAL, "From start to end.", nullable=True, unit="s"),
        Column("cpu_seconds", REAL, "Of all processors.", nullable=True, unit="s"),
        Column("max_rss_mb", REAL, "Most memory held at a time.", nullable=True, unit="MiB"),
        Column("read_mb", REAL, "Read from disks.", nullable=True, unit="MiB"),
        Column("written_mb", REAL, "Written to disks.", nullable=True, unit="MiB"),
        Column("threads", INDEX, "Threads that its rule asks for.", nullable=True),
        Column(
            "device", TEXT, "Where it computed, as its log tells; null: not told.", nullable=True
        ),
    ),
    ("rule", "job"),
)

RUN_RULES = Artifact(
    "run_rules",
    1,
    "What the jobs of each rule took together.",
    (
        Column("rule", TEXT, "Rule; all: every rule."),
        *VALUES,
    ),
    ("rule", "metric"),
)

RUN_TABLES = {
    "configuration": RUN_CONFIGURATION,
    "environment": RUN_ENVIRONMENT,
    "sources": RUN_SOURCES,
    "artifacts": RUN_ARTIFACTS,
    "jobs": RUN_JOBS,
    "rules": RUN_RULES,
}
"""By the name of their file in `RUN_FOLDER`."""
