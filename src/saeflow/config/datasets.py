"""Data sets: word problems (methods/1, sections 2.1 and 2.3), and plain texts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from saeflow.config.base import Block, Inside, Repo


class SubsetSettings(Block):
    """Which of the loaded problems a study analyses."""

    kind: Literal["all", "first", "random", "published"] = Field(
        "all",
        description="all; the first n of the file; a seeded random n; or the study's rule: the "
        "first n problem ids in lexicographic order (train_0, train_1, train_10, ...).",
    )
    n: int | None = Field(None, ge=1, description="How many; not given for 'all'.")
    seed: int = Field(0, description="Seed of 'random'.")

    @model_validator(mode="after")
    def _count_fits_kind(self) -> SubsetSettings:
        if self.kind == "all" and self.n is not None:
            raise ValueError("n is given, but kind 'all' takes every problem; leave n out")
        if self.kind != "all" and self.n is None:
            raise ValueError(f"n is missing; kind {self.kind!r} needs the number of problems")
        return self


class SplitSettings(Block):
    """Which examples the SAEs are trained on, for sources that bring no split of their own."""

    train_share: float = Field(
        0.8, gt=0, lt=1, description="Share of examples whose activations train the SAEs."
    )
    seed: int = Field(42, ge=0, lt=2**32, description="Seed of the permutation (published: 42).")


class _FileSource(Block):
    # The keys of both sources stay valid under either, so that an overlay turns one into the other
    # by naming `source` and `path` alone.
    id_prefix: str = Field(
        "", description="Written before the running number to make a problem id, e.g. 'train_'."
    )
    limit: int | None = Field(
        None, ge=1, description="Load only the first so many problems of the file; null: all."
    )
    split: SplitSettings = Field(
        default_factory=SplitSettings, description="Split into train and validation problems."
    )
    subset: SubsetSettings = Field(
        default_factory=SubsetSettings, description="Problems that the study analyses."
    )
    repo: Repo = Field("openai/gsm8k", description="Data set repository; read where source is hub.")
    revision: str = Field(
        "740312add88f781978c0658806c59bc2815b9866",
        min_length=1,
        description="Commit of the repository; a branch name would not be reproducible.",
    )
    file: Inside = Field(
        "main/train-00000-of-00001.parquet", description="File inside the repository."
    )
    content_sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Expected digest of questions and answers, whatever the container; "
        "`saeflow show problems.parquet` prints the one found.",
    )


class PathDataset(_FileSource):
    """Problems from a file of one's own, in GSM8K's JSON Lines or Parquet form."""

    source: Literal["path"] = Field(description="A file on this machine.")
    path: str = Field(
        min_length=1,
        description="JSON Lines or Parquet with question and answer; relative to the repository.",
    )


class HubDataset(_FileSource):
    """Problems from a pinned file of a Hugging Face data set."""

    source: Literal["hub"] = Field(description="A file on the Hugging Face hub.")
    path: str | None = Field(None, description="Read only where source is path.")


class GeneratedDataset(Block):
    """Problems from our own generator, in GSM8K's format; offline and deterministic."""

    source: Literal["generated"] = Field(description="The bundled generator.")
    n_train: int = Field(1600, ge=0, description="Problems whose activations train the SAEs.")
    n_validation: int = Field(400, ge=0, description="Problems that no SAE is trained on.")
    seed: int = Field(0, description="Seed of the generator.")
    max_number: int = Field(200, ge=20, description="Largest operand or result.")
    step_weights: tuple[float, float, float, float] = Field(
        (1, 1, 1, 1), description="Relative frequency of one, two, three and four steps."
    )
    decimal_share: float = Field(0.2, ge=0, le=1, description="Share of problems with decimals.")
    id_prefix: str = Field("generated_", description="Written before the running number.")
    subset: SubsetSettings = Field(
        default_factory=SubsetSettings, description="Problems that the study analyses."
    )

    @model_validator(mode="after")
    def _some_problem(self) -> GeneratedDataset:
        if self.n_train + self.n_validation == 0:
            raise ValueError("n_train and n_validation are both 0; at least one must be positive")
        if min(self.step_weights) < 0 or sum(self.step_weights) == 0:
            raise ValueError("step_weights must be non-negative and not all zero")
        return self


class BalancedDataset(Block):
    """Problems by design: operator, number and length occur in exactly equal numbers.

    None trains an SAE, and none can be among the train problems of the generator's same seed. All are
    analysed: a part of them would not be balanced.
    """

    source: Literal["balanced"] = Field(description="The bundled generator, by design.")
    stories: int = Field(
        10, ge=1, description="Stories of each length; each is told once per operator and value."
    )
    steps: tuple[int, ...] = Field(
        (1, 2, 3), min_length=1, description="Lengths: numbers of calculations, 1 to 4."
    )
    values: tuple[int, ...] = Field(
        (2, 3, 4, 5, 6, 8, 10, 12),
        min_length=2,
        description="Right operands of the first calculation, 2 to 12.",
    )
    seed: int = Field(0, description="Seed; that of the generated problems that train SAEs.")
    max_number: int = Field(100, ge=20, description="Largest operand or result.")
    id_prefix: str = Field(
        "balanced_", description="Written before the story's number, operator and value."
    )

    @model_validator(mode="after")
    def _tellable(self) -> BalancedDataset:
        for key, given, largest in (("steps", self.steps, 4), ("values", self.values, 12)):
            smallest = 1 if key == "steps" else 2
            for number in given:
                if not smallest <= number <= largest:
                    raise ValueError(f"{key} holds {number}; expected {smallest} to {largest}")
            if len(set(given)) < len(given):
                raise ValueError(f"{key} names one number twice; expected each once")
        if 2 * max(self.values) > self.max_number:
            raise ValueError(
                f"values holds {max(self.values)}, but twice that is above max_number, "
                f"{self.max_number}"
            )
        return self


TextPart = Literal["categories", "pairs", "cloze", "choices", "decimals", "documents"]


class MixtureTexts(Block):
    """Texts that the reference models were trained on, the same number of each part.

    What follows a prompt is the right continuation. Those that train no SAE are drawn from what the
    mixture holds out, so that neither a model nor an SAE has read them.
    """

    source: Literal["mixture"] = Field(description="The texts of the training mixture.")
    parts: tuple[TextPart, ...] = Field(
        ("categories", "pairs", "cloze", "choices", "decimals", "documents"),
        min_length=1,
        description="Parts to draw from, as evenly as their sizes allow.",
    )
    n_train: int = Field(2400, ge=1, description="Texts whose tokens train the SAEs.")
    n_validation: int = Field(600, ge=0, description="Texts that no SAE is trained on.")
    seed: int = Field(0, description="Seed of the draw; a larger number only adds texts.")

    @model_validator(mode="after")
    def _different_parts(self) -> MixtureTexts:
        if len(set(self.parts)) < len(self.parts):
            raise ValueError(f"parts {list(self.parts)} names something twice")
        return self


class _Documents(Block):
    column: str = Field(
        "text", min_length=1, description="The column; not read of a file of plain text."
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="Column or key that names a document's group, such as its topic, or a key inside "
        "one, such as meta.pile_set_name; null: none.",
    )
    limit: int | None = Field(
        None, ge=1, description="Load only the first so many texts; null: all."
    )
    split: SplitSettings = Field(
        default_factory=SplitSettings, description="Split into train and validation texts."
    )


class TextFile(_Documents):
    """Texts from files of one's own."""

    source: Literal["text_file"] = Field(description="Files of texts on this machine.")
    path: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    ) = Field(
        description="JSON Lines or Parquet with a column of texts, or plain text with one text per "
        "line (.jsonl, .parquet, .txt, each also .gz, .bz2, .xz or .zst): a file, a folder, a pattern "
        "such as corpus/*.jsonl.zst, or a list of them; relative to the repository.",
    )
    split_by: Literal["auto", "place", "content"] = Field(
        "auto",
        description="place: a permutation of the texts, as published; content: a digest of each text, "
        "so that equal texts are never on both sides; auto: place for one file, content for several.",
    )


class TextHub(_Documents):
    """Texts from a pinned Hugging Face data set, streamed as far as they are read.

    Split by a digest of each text, so that equal texts are never on both sides.
    """

    source: Literal["text_hub"] = Field(description="Files of texts on the Hugging Face hub.")
    repo: Repo = Field(description="Data set repository, owner/name.")
    revision: str = Field(
        pattern=r"^[0-9a-f]{40}$",
        description="Commit of the repository; a branch name would not be reproducible.",
    )
    files: tuple[Inside, ...] = Field(
        min_length=1,
        description="Files inside the repository or patterns such as train/*.jsonl.zst, in the forms "
        "that a file of one's own may have.",
    )


ProblemSettings = Annotated[
    GeneratedDataset | BalancedDataset | PathDataset | HubDataset, Field(discriminator="source")
]
"""Problems, about which a model has latent thoughts."""
Texts = MixtureTexts | TextFile | TextHub
TextSettings = Annotated[Texts, Field(discriminator="source")]
"""Texts, which a model reads token by token."""
DatasetSettings = Annotated[
    GeneratedDataset | BalancedDataset | PathDataset | HubDataset | Texts,
    Field(discriminator="source"),
]
