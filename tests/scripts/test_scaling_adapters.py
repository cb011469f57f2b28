"""Jobs of the study of wide SAEs on a corpus of a user's own, with a model of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from saeflow.artifacts import provenance
from saeflow.artifacts.catalog import QUALITY, TEXTS
from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.provenance import Provenance, config_digest, metadata_of
from saeflow.artifacts.scaling_examples import SCALING_READING
from saeflow.artifacts.scaling_explanations import EXPLANATION_ARTIFACTS
from saeflow.artifacts.scaling_search import SEARCH_ARTIFACTS
from saeflow.artifacts.scaling_steering import STEERING_ARTIFACTS
from saeflow.artifacts.scaling_training import SCALING_TRAINING
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.dictionaries import DictionarySettings
from saeflow.config.scaling import ScalingCalibrated
from saeflow.datasets.texts.documents import document_texts
from saeflow.errors import SaeflowError
from saeflow.models.directories import save_directory
from saeflow.models.tokenizer import byte_tokenizer
from saeflow.saes.encoding import open_bank
from saeflow.studies.scaling.reading_state import ReadingState
from tests.scripts.adapters import adapter
from tests.sentences import check_sentence
from tests.small_models import small_model, with_tokenizer

TOPICS = ("football", "medicine")
LENGTH = 60
"""Characters of a text, of which each is a token."""
CALIBRATED = ScalingCalibrated.model_validate(
    {
        "reading": {
            "features": 3,
            "examples": {"top": 2, "bins": 2, "per_bin": 1, "silent": 1, "pool": 16, "context": 3},
            "tokens": 2,
            "neighbours": 2,
            "spliced_documents": 2,
        },
        "search": {
            "sets": {
                "topics": {"source": "groups", "dataset": "own", "split": "train", "negative": 6},
                "mine": {"source": "files", "positive": "elsewhere", "negative": "elsewhere"},
            },
            "levels": ["document_mean"],
            "top": 2,
            "permutations": 19,
            "bootstrap": 2,
            "documents": 4,
        },
        "steering": {
            "doses": [0.0, 1.0],
            "prompts": 2,
            "samples": 1,
            "max_new_tokens": 2,
            "neighbours": 3,
            "documents": 4,
            "permutations": 19,
            "published": {"multipliers": [0.0, 25.0], "max_new_tokens": 2},
        },
        "explanations": {
            "features": 3,
            "strata": 1,
            "examples": 3,
            "shown": 3,
            "windows": {
                "context": 3,
                "activating": 6,
                "quantiles": 2,
                "pool": 32,
                "silent": 3,
                "neighbours": 2,
            },
            "permutations": 19,
        },
    }
).model_dump(mode="json")
STREAM = {
    "tokens": 1280,
    "batch_size": 64,
    "buffer_tokens": 256,
    "start_batches": 2,
    "contexts": {"packing": "documents", "length": 48},
}
RECIPE = {"dataset": "own", "hook": "resid_post", "layers": [1], "d_sae": 24, "k": 4}
RUN = {"dictionary": "wide", "seed": 0}
SAES = (("wide", 0, None), ("frozen", 0, "frozen_decoder"))


def recipe(control: str | None) -> dict[str, Any]:
    block = {**RECIPE, "control": control, "stream": STREAM}
    return DictionarySettings.model_validate(block).model_dump(mode="json")


class Study:
    """Inputs of the jobs, and what they leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        model = with_tokenizer(small_model("llama"), byte_tokenizer())
        save_directory(model, folder / "model")
        self.files = sorted(str(path) for path in (folder / "model").iterdir())
        self.texts = str(folder / "texts.parquet")
        drawn = [each for each in document_texts(seed=0, n_per_topic=8) if each.group in TOPICS]
        rows = [
            {"text": n, "content": each.text[:LENGTH], "part": "documents", "group": each.group,
             "split": "validation" if n % 4 == 3 else "train", "form": "", "item": n}
            for n, each in enumerate(drawn)
        ]  # fmt: skip
        table = pa.Table.from_pylist(rows, TEXTS.schema())
        write_table(table, Path(self.texts), TEXTS, Provenance("c", dataset_revision="own"))
        self.prompts = [str(folder / f"{side}.txt") for side in ("positive", "negative")]
        for side, path in zip(("Good", "Bad"), self.prompts, strict=True):
            lines = "".join(f"{side} day {n}.\n" for n in range(4))
            Path(path).write_text(lines, encoding="utf-8")
        self.continued = str(folder / "continued.txt")
        Path(self.continued).write_text("One day\nIt is\n", encoding="utf-8")
        self.banks = {name: str(folder / f"saes/{name}/seed0") for name, _, _ in SAES}
        self.untrained = str(folder / "saes/untrained/wide/seed0")

    def spec(self, **more: Any) -> dict[str, Any]:
        return {"model": {"weights": "path"}, "control": None, "threads": 1, **more}

    @property
    def fresh(self) -> dict[str, Any]:
        return self.spec(control={"of": "llama", "weights": "fresh", "seed": 0})

    def tables(self, *artifacts: Any) -> list[str]:
        return [str(self.folder / f"{name_of(each)}.parquet") for each in artifacts]

    def train(self, model: dict[str, Any], saes: Any, banks: list[str], **spec: Any) -> None:
        given = [[name, seed, recipe(control)] for name, seed, control in saes]
        adapter(
            "train_wide",
            self.folder,
            input={"texts": self.texts, "model": self.files},
            output={"banks": banks},
            resources={"checkpoint_minutes": "1e-9"},
            params={"code": "c", "spec": {"model": model, "banks": given, **spec}},
        )

    def search(self, **changes: Any) -> None:
        banks = [self.banks["wide"], self.untrained, self.banks["frozen"]]
        wanted = {"model": self.files, "corpus": self.texts, "banks": banks,
                  "texts": [self.texts], "prompts": self.prompts}  # fmt: skip
        spec = {"model": self.spec(), "run": RUN, "search": CALIBRATED["search"], "positions": 64,
                "controls": {"untrained": self.fresh, "frozen_decoder": None}}  # fmt: skip
        adapter(
            "search_scaling",
            self.folder,
            input={**wanted, **changes},
            output=self.tables(*SEARCH_ARTIFACTS),
            params={"spec": spec},
        )

    def read(self) -> None:
        runs = [{"dictionary": name, "seed": seed} for name, seed, _ in SAES]
        spec = {
            "model": self.spec(),
            "positions": 64,
            "runs": runs,
            "reading": CALIBRATED["reading"],
        }
        adapter(
            "read_scaling",
            self.folder,
            input={"model": self.files, "corpus": self.texts, "banks": list(self.banks.values()),
                   "search": self.tables(SEARCH_ARTIFACTS[0])},
            output=self.tables(*SCALING_READING),
            params={"spec": spec, "code": "1"},
        )  # fmt: skip

    def steer(self, prompts: list[str]) -> None:
        (search,) = self.tables(SEARCH_ARTIFACTS[0])
        spec = {
            "model": self.spec(),
            "positions": 64,
            "run": RUN,
            "topics": ["documents"],
            "steering": CALIBRATED["steering"],
        }
        adapter(
            "steer_scaling",
            self.folder,
            input={"model": self.files, "corpus": self.texts, "topics": [self.texts],
                   "bank": self.banks["wide"], "search": search,
                   "features": str(self.folder / "features.parquet"), "prompts": prompts},
            output=self.tables(*STEERING_ARTIFACTS),
            params={"code": "c", "spec": spec},
            wildcards={},
        )  # fmt: skip

    def explain(self) -> None:
        spec = {
            "model": self.spec(),
            "positions": 64,
            "run": RUN,
            "explanations": CALIBRATED["explanations"],
        }
        adapter(
            "explain_scaling",
            self.folder,
            input={"model": self.files, "corpus": self.texts, "bank": self.banks["wide"],
                   "features": str(self.folder / "features.parquet"),
                   "search": self.tables(SEARCH_ARTIFACTS[0]), "explainer": [], "scorer": []},
            output=self.tables(*EXPLANATION_ARTIFACTS),
            params={"spec": spec},
        )  # fmt: skip

    def judge(self) -> None:
        names = ("quality", "features", "search", "search_targets", "steering",
                 "explanation_summary")  # fmt: skip
        spec = {
            "tables": {name: str(self.folder / f"{name}.parquet") for name in names},
            "banks": list(self.banks.values()),
            "settings": {"main": ["wide", 0], "published_form": None, "controls": ["frozen"],
                         "own_weights": False, "untrained": None},
        }  # fmt: skip
        made = self.tables(SCALING_TRAINING, CLAIMS)
        adapter(
            "summarise_scaling",
            self.folder,
            output={"training": made[:1], "claims": made[1:]},
            params={"spec": {"llama": spec}},
        )


def name_of(artifact: Any) -> str:
    return str(artifact.name.removeprefix("scaling_"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """All jobs; whoever reads these tables must not write."""
    made = Study(tmp_path_factory.mktemp("scaling"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saeflow.device.set_threads", lambda threads: None)
        made.train(made.spec(), SAES, list(made.banks.values()))
        made.train(made.fresh, SAES[:1], [made.untrained])
        made.search()
        made.read()
        made.steer([])
        made.explain()
        made.judge()
        yield made


def test_banks_are_written_whole_and_nothing_else_is_left(study: Study) -> None:
    for (name, seed, control), path in zip(SAES, study.banks.values(), strict=True):
        folder = Path(path)
        assert [each.name for each in folder.parent.iterdir()] == ["seed0"]
        assert open_bank(folder).d_sae == 24
        for table in ("quality", "training"):
            artifact = QUALITY if table == "quality" else SCALING_TRAINING
            found = read_table(folder / f"{table}.parquet", artifact)
            assert set(found["dictionary"].to_pylist()) == {name}
            assert set(found["control"].to_pylist()) == {control or "none"}
            said = metadata_of(found.schema)
            assert said["dataset_revision"] == "own"
            assert said["seed"] == str(seed)
            assert said["config"] == config_digest([name, seed, recipe(control)])
    one, other = (
        metadata_of(read_table(Path(path, "training.parquet"), SCALING_TRAINING).schema)
        for path in (study.banks["wide"], study.untrained)
    )
    assert one["model_revision"] != other["model_revision"]


def test_every_table_fits_its_schema(study: Study) -> None:
    kinds = (*SEARCH_ARTIFACTS, *SCALING_READING, *STEERING_ARTIFACTS, *EXPLANATION_ARTIFACTS)
    for artifact in (*kinds, SCALING_TRAINING, CLAIMS):
        (path,) = study.tables(artifact)
        found = read_table(Path(path), artifact)
        assert len(found) or name_of(artifact) == "search_targets", path
        keys = found.select(list(artifact.keys)).to_pylist()
        assert len({tuple(key.values()) for key in keys}) == len(keys), path
        said = metadata_of(found.schema)
        assert said["dataset_revision"] == "own", path
        assert said["model_revision"], path


def test_controls_and_files_stand_in_the_search(study: Study) -> None:
    rows = read_table(Path(study.tables(SEARCH_ARTIFACTS[0])[0]), SEARCH_ARTIFACTS[0]).to_pylist()
    assert {"none", "untrained", "frozen_decoder"} <= {row["control"] for row in rows}
    assert {row["prompts"] for row in rows} == {"mine", *(f"topics/{name}" for name in TOPICS)}


def test_training_of_all_saes_is_put_together(study: Study) -> None:
    (path,) = study.tables(SCALING_TRAINING)
    rows = read_table(Path(path), SCALING_TRAINING).to_pylist()
    parts = [
        row
        for bank in study.banks.values()
        for row in read_table(Path(bank, "training.parquet"), SCALING_TRAINING).to_pylist()
    ]
    assert sorted(map(repr, rows)) == sorted(map(repr, parts))


def test_the_same_command_gives_the_same_bytes(study: Study) -> None:
    paths = study.tables(*SEARCH_ARTIFACTS, *EXPLANATION_ARTIFACTS)
    before = [Path(path).read_bytes() for path in paths]
    study.search()
    study.explain()
    assert [Path(path).read_bytes() for path in paths] == before


def test_what_a_reading_goes_on_from_is_of_the_same_packages(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def of(target: Path, made_with: list[Any], read: list[Path]) -> None:
        asked.append(config_digest(made_with))
        raise SaeflowError("that is all.")

    monkeypatch.setattr(ReadingState, "of", of)
    for version in ("1", "1", "2"):
        monkeypatch.setattr(provenance, "package_version", lambda name, said=version: said)
        with pytest.raises(SystemExit):
            study.read()
    assert len(asked) == 3
    assert asked[0] == asked[1] != asked[2]


def said(capsys: pytest.CaptureFixture[str], stopped: pytest.ExceptionInfo[SystemExit]) -> str:
    assert stopped.value.code == 1
    text = capsys.readouterr().err.strip().split("\n")[-1]
    check_sentence(Exception(text.removeprefix("error: ")))
    return text


def test_too_few_prompts_to_continue_are_told(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [Path(path).read_bytes() for path in study.tables(*STEERING_ARTIFACTS)]
    few = tmp_path / "few.txt"
    few.write_text("Once\n\nOnce\n", encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        study.steer([str(few)])
    assert "holds 1 different prompts; expected 2" in said(capsys, stopped)
    assert [Path(path).read_bytes() for path in study.tables(*STEERING_ARTIFACTS)] == before


def test_a_prompt_on_both_sides_is_told(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        study.search(prompts=[study.prompts[0]] * 2)
    assert "is positive and negative; expected it on one side." in said(capsys, stopped)


def test_a_layer_that_the_model_lacks_is_told_and_leaves_no_bank(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "wide/seed0"
    target.parent.mkdir()
    block = {**recipe(None), "layers": [9]}
    with pytest.raises(SystemExit) as stopped:
        adapter(
            "train_wide",
            tmp_path,
            input={"texts": study.texts, "model": study.files},
            output={"banks": [str(target)]},
            resources={"checkpoint_minutes": "10"},
            params={"code": "c", "spec": {"model": study.spec(), "banks": [["wide", 0, block]]}},
        )
    assert "9" in said(capsys, stopped)
    assert not target.exists()
