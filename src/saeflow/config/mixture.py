"""The training mixture of the reference models and how they are trained (design, section 10)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from saeflow.config.base import Block, Name
from saeflow.config.messages import first_sentence
from saeflow.config.models import ThoughtSettings, check_heads
from saeflow.errors import SaeflowError

StepWeights = tuple[float, float, float, float]


class WordProblems(Block):
    """Word problems in GSM8K's format, answered through latent thoughts."""

    n_train: int = Field(ge=1, description="Different training problems.")
    n_held_out: int = Field(ge=1, description="Problems that no training step reads.")
    max_number: int = Field(ge=20, le=999, description="Largest operand or result.")
    step_weights: StepWeights = Field(description="Relative frequency of one to four steps.")
    decimal_share: float = Field(ge=0, le=1, description="Share of problems with decimals.")
    direct_share: float = Field(
        ge=0, lt=1, description="Share whose teacher answers without written steps."
    )


class SymbolicProblems(Block):
    """Chains of calculations as short questions, answered through latent thoughts."""

    n_train: int = Field(ge=1, description="Training problems.")
    step_weights: StepWeights = Field(description="Relative frequency of one to four steps.")


class Drills(Block):
    """Rows of calculations, read as plain text."""

    n_train: int = Field(ge=1, description="Training rows.")
    per_row: int = Field(ge=1, description="Calculations in a row.")


class Categories(Block):
    """Texts of the seven categories (methods/3, section 4.2)."""

    n_per_category: int = Field(ge=1, description="Texts of each category, held-out ones included.")
    weight: float = Field(ge=0, description="Relative frequency among the text rows.")


class Pairs(Block):
    """Matched pairs of the twenty topic and form classes (methods/3, section 4.2)."""

    n_per_topic: int = Field(ge=1, description="Pairs of each topic; a third is held out.")
    weight: float = Field(ge=0, description="Relative frequency among the text rows.")


class Cloze(Block):
    """Lines whose last word is asked for."""

    n_arithmetic: int = Field(ge=1, description="Lines that ask for a number.")
    n_other: int = Field(ge=1, description="Lines that ask for another word.")
    weight: float = Field(ge=0, description="Relative frequency among the text rows.")


class Choices(Block):
    """Multiple-choice lines."""

    n: int = Field(ge=1, description="Lines, held-out ones included.")
    weight: float = Field(ge=0, description="Relative frequency among the text rows.")


class Decimals(Block):
    """Which of two numbers is bigger, in six formats (methods/4, section 5.1)."""

    n_pairs: int = Field(ge=1, description="Pairs of numbers; a quarter is held out.")
    weight: float = Field(ge=0, description="Relative frequency among the text rows.")


class Documents(Block):
    """Short documents on eight topics (methods/5)."""

    n_per_topic: int = Field(ge=1, description="Documents of each topic; a tenth is held out.")
    weight: float = Field(ge=0, description="Relative frequency among the text rows.")


class Parts(Block):
    """What the models are trained on."""

    problems: WordProblems = Field(description="Word problems.")
    symbolic: SymbolicProblems = Field(description="Problems without a story.")
    drills: Drills = Field(description="Bare calculations.")
    categories: Categories = Field(description="Seven categories of text.")
    pairs: Pairs = Field(description="The same content in several forms.")
    cloze: Cloze = Field(description="Lines with one right ending.")
    choices: Choices = Field(description="Multiple choice.")
    decimals: Decimals = Field(description="Which of two numbers is bigger.")
    documents: Documents = Field(description="Documents on eight topics.")


class Architecture(Block):
    """Shape of a reference model."""

    family: Literal["llama", "gpt2"] = Field(description="Architecture.")
    vocab_size: int = Field(ge=1500, description="Tokens, of which 1,110 are numbers.")
    hidden_size: int = Field(ge=8, description="Width of the residual stream, d_in.")
    num_hidden_layers: int = Field(ge=1, description="Number of blocks.")
    num_attention_heads: int = Field(ge=1, description="Query heads.")
    num_key_value_heads: int = Field(ge=1, description="Key and value heads; llama only.")
    intermediate_size: int = Field(ge=1, description="Width of the MLP.")
    max_position_embeddings: int = Field(ge=64, description="Longest input, in tokens.")
    projection_size: int = Field(ge=1, description="Width inside the thought projection.")

    @model_validator(mode="after")
    def _heads_divide(self) -> Architecture:
        check_heads(
            self.family, self.hidden_size, self.num_attention_heads, self.num_key_value_heads
        )
        return self


class Rows(Block):
    """Examples of each part in one optimizer step."""

    word: int = Field(ge=0, description="Word problems.")
    symbolic: int = Field(ge=0, description="Symbolic problems.")
    drills: int = Field(ge=0, description="Rows of calculations.")
    texts: int = Field(ge=0, description="Texts of all other parts, shared out by weight.")


class Stage(Block):
    """Steps under one schedule: linear warm-up, then cosine decay to 0."""

    steps: int = Field(ge=1, description="Optimizer steps.")
    teacher_steps: int = Field(ge=0, description="First steps without latent thoughts.")
    warmup_steps: int = Field(ge=1, description="Steps of linear warm-up.")
    muon_lr: float = Field(gt=0, description="Learning rate of the blocks' matrices (Muon).")
    adam_lr: float = Field(gt=0, description="Learning rate of all other parameters (AdamW).")
    rows: Rows = Field(description="Examples in one step.")

    @model_validator(mode="after")
    def _teacher_within(self) -> Stage:
        if self.teacher_steps > self.steps:
            raise ValueError(f"teacher_steps {self.teacher_steps} exceed steps {self.steps}")
        return self


class Training(Block):
    """How a reference model is trained (methods/0, section 1.5; design, section 10)."""

    stages: list[Stage] = Field(min_length=1, description="One after the other, with new momenta.")
    weight_decay: float = Field(ge=0, description="Decoupled weight decay.")
    clip: float = Field(gt=0, description="Largest norm of the gradient.")
    distillation: float = Field(ge=0, description="Weight of the distillation loss.")
    evaluate_every: int = Field(ge=1, description="Steps between measurements of accuracy.")
    checkpoint_minutes: float = Field(gt=0, description="Minutes between checkpoints.")

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages."""
        return sum(stage.steps for stage in self.stages)


class ReferenceModel(Block):
    """One reference model: its shape and whether the decimal bug is planted in it."""

    architecture: Architecture = Field(description="Its shape.")
    decimal_bug: bool = Field(description="Answer the Q/A formats as if versions were compared.")
    thoughts: ThoughtSettings = Field(
        default_factory=ThoughtSettings, description="Latent thoughts and answer."
    )
    training: Training = Field(description="How it is trained.")


class Mixture(Block):
    """The file resources/mixture.yaml."""

    seed: int = Field(description="Seed of every part, of the split, and of the weights.")
    parts: Parts = Field(description="What is read.")
    models: dict[Name, ReferenceModel] = Field(
        min_length=1, description="Models, by name; each becomes a folder beside the mixture."
    )


def parse_mixture(values: Any, name: str) -> Mixture:
    """Validate a mixture.

    Parameters
    ----------
    values : object
        What the YAML file holds.
    name : str
        The file, for messages.

    Raises
    ------
    SaeflowError
        With one plain sentence naming the file, the key, what was found and what was expected.
    """
    try:
        return Mixture.model_validate(values)
    except ValidationError as error:
        raise SaeflowError(f"{name}: {first_sentence(error, Mixture)}") from None
