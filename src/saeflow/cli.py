"""``saeflow``: look at artifacts, runs and GPUs, search, export, make problems, mend a lock."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import saeflow
from saeflow.cli_gpus import add_gpus, gpus_text
from saeflow.cli_manifest import add_manifest, manifest_output
from saeflow.cli_plan import add_plan, plan_output
from saeflow.cli_search import add_search, search_text
from saeflow.errors import SaeflowError

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except SaeflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except OSError as error:
        print(f"error: {error.filename or 'a file'}: {error.strerror}.", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="saeflow",
        description="Tools around the workflow; the workflow itself is run with snakemake.",
    )
    parser.add_argument("--version", action="version", version=f"saeflow {saeflow.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    show = commands.add_parser(
        "show", help="print where a Parquet file comes from, and its first rows"
    )
    show.add_argument("file", type=Path, help="a Parquet file of the workflow")
    show.add_argument("--rows", type=_count, default=10, help="rows to print (default: 10)")
    show.add_argument("--json", action="store_true", help="print one JSON object instead")
    show.set_defaults(run=_show)

    add_plan(commands).set_defaults(run=_plan)
    add_manifest(commands).set_defaults(run=_manifest)
    add_gpus(commands).set_defaults(run=_gpus)
    add_search(commands).set_defaults(run=_search)

    export = commands.add_parser(
        "export-vectors", help="write captured activations as lists of float32 for other tools"
    )
    export.add_argument("source", type=Path, help="a chunk of a capture, or a layer's folder")
    export.add_argument("target", type=Path, help="Parquet file to write")
    export.set_defaults(run=_export_vectors)

    explained = commands.add_parser(
        "export-explanations", help="write explained features for Delphi or Neuronpedia"
    )
    explained.add_argument("--format", choices=["delphi", "neuronpedia"], required=True)
    explained.add_argument(
        "--model", default="model", help="name of the model in the export (default: model)"
    )
    explained.add_argument(
        "results",
        type=Path,
        nargs="+",
        metavar="RESULT",
        help="tables of explanations and their examples; verdicts and scores, too, where wanted",
    )
    explained.add_argument("folder", type=Path, help="folder to write to")
    explained.set_defaults(run=_export_explanations)

    problems = commands.add_parser(
        "problems", help="write generated word problems as JSON Lines, in GSM8K's format"
    )
    problems.add_argument("target", type=Path, help="file to write")
    problems.add_argument("--count", type=int, default=1000, help="problems (default: 1000)")
    problems.add_argument("--seed", type=int, default=0, help="seed (default: 0)")
    problems.add_argument(
        "--max-number",
        type=int,
        default=100,
        help="largest operand or result (default: 100, which the bundled models know)",
    )
    problems.add_argument("--split", choices=["train", "validation"], default="train")
    problems.set_defaults(run=_problems)

    codi = commands.add_parser(
        "convert-codi", help="merge a released CODI checkpoint into a model directory"
    )
    codi.add_argument("checkpoint", type=Path, help="folder of the checkpoint, as downloaded")
    codi.add_argument("target", type=Path, help="new folder to write")
    codi.add_argument(
        "--base", type=Path, help="folder of the base model: its configuration and tokenizer"
    )
    codi.add_argument(
        "--alpha", type=int, default=32, help="LoRA's alpha (default: 32, the released ones')"
    )
    codi.set_defaults(run=_convert_codi)

    unlock = commands.add_parser(
        "unlock", help="remove the lock of a killed run if no live process owns it"
    )
    unlock.add_argument("folder", type=Path, nargs="?", default=Path(), help="where it ran")
    unlock.set_defaults(run=_unlock)

    schema = commands.add_parser("schema", help="regenerate what is generated from the code")
    schema.add_argument("--check", action="store_true", help="write nothing; fail if out of date")
    schema.set_defaults(run=_schema)
    return parser


def _count(text: str) -> int:
    if int(text) < 0:
        raise ValueError(text)
    return int(text)


def _show(options: argparse.Namespace) -> None:
    from saeflow.show import describe, describe_json

    if options.json:
        found = describe_json(options.file, options.rows)
        # A Parquet file of someone else may hold dates and bytes.
        print(json.dumps(found, indent=2, ensure_ascii=False, default=str))
    else:
        print(describe(options.file, options.rows))


def _plan(options: argparse.Namespace) -> None:
    print(plan_output(options, ROOT))


def _manifest(options: argparse.Namespace) -> int:
    text, code = manifest_output(options, ROOT)
    print(text)
    return code


def _gpus(options: argparse.Namespace) -> None:
    print(gpus_text(options))


def _search(options: argparse.Namespace) -> None:
    print(search_text(options))


def _export_vectors(options: argparse.Namespace) -> None:
    from saeflow.artifacts.vectors import export_vectors

    rows = export_vectors(options.source, options.target)
    print(f"{options.target}: {rows} vectors")


def _export_explanations(options: argparse.Namespace) -> None:
    from saeflow.artifacts.exports.delphi import write_delphi
    from saeflow.artifacts.exports.explained import read_explained
    from saeflow.artifacts.exports.neuronpedia import write_neuronpedia

    write = {"delphi": write_delphi, "neuronpedia": write_neuronpedia}[options.format]
    count = write(read_explained(options.results), options.folder, model=options.model)
    print(f"{options.folder}: {count} features")


def _problems(options: argparse.Namespace) -> None:
    from saeflow.artifacts.files import write_text
    from saeflow.datasets.generated import generate_problems, to_jsonl_line

    counts = {"n_train": 0, "n_validation": 0, f"n_{options.split}": options.count}
    try:
        made = generate_problems(seed=options.seed, max_number=options.max_number, **counts)
    except ValueError as error:
        raise SaeflowError(str(error)) from None
    write_text(options.target, "".join(to_jsonl_line(problem) + "\n" for problem in made))
    print(f"{options.target}: {len(made)} problems")


def _convert_codi(options: argparse.Namespace) -> None:
    from saeflow.models.codi_checkpoint import convert_checkpoint

    base: Path | None = options.base
    convert_checkpoint(options.checkpoint, options.target, base=base, alpha=options.alpha)
    print(f"{options.target}: converted; name it with weights: path")


def _unlock(options: argparse.Namespace) -> None:
    from saeflow.runlock import clear_stale_lock

    if clear_stale_lock(options.folder):
        print("removed the lock of a run that is gone")


def _schema(options: argparse.Namespace) -> int:
    from saeflow.generated_files import generated_files

    stale = []
    for path, text in generated_files(ROOT).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not options.check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'out of date' if options.check else 'written'}")
    return int(bool(stale) and options.check)
