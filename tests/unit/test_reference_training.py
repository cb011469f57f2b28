"""Training of the reference models, held against slow and obvious references."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, smooth_l1_loss

import saeflow.models.reference.run as run_module
import saeflow.models.reference.train as train_module
from saeflow.artifacts.catalog import TRAINING
from saeflow.artifacts.tables import read_table
from saeflow.config.mixture import Mixture
from saeflow.config.models import PathModel, UntrainedControl
from saeflow.datasets.mixture import mixture_problems, mixture_texts
from saeflow.models.codi import CodiModel
from saeflow.models.directories import load_directory
from saeflow.models.loading import fresh_model, load_model
from saeflow.models.numbers import start_numbers
from saeflow.models.reference.batches import WINDOW, Stream
from saeflow.models.reference.examples import IGNORED, Encoder, ThoughtExample
from saeflow.models.reference.objective import text_loss, thought_losses
from saeflow.models.reference.prepare import prepare_tokenizer
from saeflow.models.reference.run import run_training
from saeflow.preflight import read_mixture
from tests.conftest import ROOT

LATENTS = 3
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    return read_mixture(ROOT / "tests" / "config" / "mixture.yaml")


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest, mixture: Mixture) -> CodiModel:
    recipe = mixture.models[request.param]
    problems, texts = (
        mixture_problems(mixture.seed, mixture.parts),
        mixture_texts(mixture.seed, mixture.parts, buggy=False),
    )
    tokenizer = prepare_tokenizer(recipe, problems, texts)
    return fresh_model(recipe.architecture, tokenizer, 0)


@pytest.fixture(scope="module")
def batch(model: CodiModel, mixture: Mixture) -> list[ThoughtExample]:
    encoder = Encoder(model.tokenizer)
    problems = mixture_problems(mixture.seed, mixture.parts).train
    chosen = [p for p in problems if p.n_steps > 1][:5] + [p for p in problems if p.n_steps == 1][
        :3
    ]
    return [
        encoder.thought(p.question, p.answer, direct=index == 1) for index, p in enumerate(chosen)
    ]


def hidden_states(model: CodiModel, embeddings: torch.Tensor) -> list[torch.Tensor]:
    """Hidden states of one sequence: no cache, no padding, no mask."""
    output = model.language_model.base_model(
        inputs_embeds=embeddings[None], use_cache=False, output_hidden_states=True
    )
    return [state[0] for state in output.hidden_states]


def test_losses_equal_separate_passes_of_single_problems(
    model: CodiModel, batch: list[ThoughtExample]
) -> None:
    embed, head = model.language_model.get_input_embeddings(), model.language_model.lm_head
    teacher, student, taught, answered = [], [], [], []
    n_teacher = n_student = 0
    for each in batch:
        ids = torch.tensor([*each.question, *each.rationale, *each.answer])
        states = hidden_states(model, embed(ids))
        first = len(each.question)
        teacher.append(
            cross_entropy(head(states[-1][first - 1 : -1]), ids[first:], reduction="sum")
        )
        n_teacher += len(ids) - first
        anchor = first + len(each.rationale) + each.anchor
        taught.append(torch.stack([state[anchor] for state in states]))
        read = embed(torch.tensor([*each.question, model.tokens.begin]))
        for _ in range(LATENTS):
            latent = model.projection(hidden_states(model, read)[-1][-1:])
            read = torch.cat([read, latent])
        read = torch.cat([read, embed(torch.tensor([model.tokens.end, *each.answer]))])
        states = hidden_states(model, read)
        tail = len(each.answer)
        logits = head(states[-1][-tail - 1 : -1])
        student.append(cross_entropy(logits, torch.tensor(each.answer), reduction="sum"))
        n_student += tail
        answered.append(torch.stack([state[-tail + each.anchor] for state in states]))
    keep = [row for row, each in enumerate(batch) if each.distilled]
    distances = []
    for layer in range(len(taught[0])):
        target = torch.stack([taught[row][layer] for row in keep]).detach()
        ours = torch.stack([answered[row][layer] for row in keep])
        distances.append(smooth_l1_loss(ours, target) / target.std())
    found = thought_losses(model, batch, latents=LATENTS, with_student=True)
    assert len(keep) == len(batch) - 1
    torch.testing.assert_close(found.teacher, sum(teacher) / n_teacher, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.student, sum(student) / n_student, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        found.distillation, torch.stack(distances).mean(), atol=1e-5, rtol=1e-4
    )
    total = found.teacher + found.student + 5 * found.distillation
    torch.testing.assert_close(found.total(5.0), total)


def test_distillation_leaves_the_teacher_alone(
    model: CodiModel, batch: list[ThoughtExample]
) -> None:
    losses = thought_losses(model, batch, latents=LATENTS, with_student=True)
    embedding = model.language_model.get_input_embeddings().weight
    (gradient,) = torch.autograd.grad(losses.distillation, [embedding], retain_graph=True)
    questions = {token for each in batch for token in each.question}
    rationales = {token for each in batch for token in each.rationale} - questions
    answers = {token for each in batch for token in each.answer[: each.anchor + 1]}
    only_taught = sorted(rationales - answers)
    assert only_taught, "the teacher reads tokens that the student does not"
    assert gradient[only_taught].abs().max() == 0
    assert gradient[sorted(questions)].abs().max() > 0
    (gradient,) = torch.autograd.grad(losses.teacher, [embedding])
    assert gradient[only_taught].abs().max() > 0


def test_only_results_of_drills_and_targets_of_prompts_are_learned(
    model: CodiModel, mixture: Mixture
) -> None:
    encoder = Encoder(model.tokenizer)
    drill = encoder.drill("<<12+7=19>><<8*3=24>>")
    learned = [label for label in drill.labels if label != IGNORED]
    assert model.tokenizer.decode(learned) == "1924"
    texts = mixture_texts(mixture.seed, mixture.parts, buggy=False)
    asked = next(text for text in texts if text.part == "decimals")
    labels = [label for label in encoder.text(asked).labels if label != IGNORED]
    assert model.tokenizer.decode(labels[:-1]) == asked.target
    assert labels[-1] == model.tokenizer.eos_token_id


def test_text_loss_equals_that_of_single_texts(model: CodiModel, mixture: Mixture) -> None:
    encoder = Encoder(model.tokenizer)
    texts = [
        encoder.text(text) for text in mixture_texts(mixture.seed, mixture.parts, buggy=False)[::40]
    ]
    total, count = torch.zeros(()), 0
    for text in texts:
        ids, labels = torch.tensor(text.ids), torch.tensor(text.labels)
        hidden = hidden_states(model, model.language_model.get_input_embeddings()(ids))[-1]
        logits = model.language_model.lm_head(hidden[:-1])
        total += cross_entropy(logits, labels[1:], ignore_index=IGNORED, reduction="sum")
        count += int((labels[1:] != IGNORED).sum())
    torch.testing.assert_close(text_loss(model, texts), total / count, atol=1e-5, rtol=0)


def test_numbers_start_in_order_and_words_at_random(model: CodiModel) -> None:
    fresh = fresh_model_like(model)
    before = fresh.language_model.get_input_embeddings().weight.detach().clone()
    start_numbers(fresh)
    after = fresh.language_model.get_input_embeddings().weight.detach()
    ids = model.tokenizer.convert_tokens_to_ids([str(number) for number in range(1000)])
    changed = (before != after).any(1).nonzero()[:, 0].tolist()
    assert set(changed) <= set(ids)
    assert len(changed) > 990
    half = after.shape[1] // 2
    near = torch.cosine_similarity(after[ids[40], :half], after[ids[60], :half], dim=0)
    far = torch.cosine_similarity(after[ids[40], :half], after[ids[47], :half], dim=0)
    assert near > far  # both are multiples of 20


def fresh_model_like(model: CodiModel) -> CodiModel:
    mixture = read_mixture(ROOT / "tests" / "config" / "mixture.yaml")
    name = model.language_model.config.model_type
    return fresh_model(mixture.models[name].architecture, model.tokenizer, 0)


def test_a_stream_depends_on_its_step_alone() -> None:
    groups = [(1.0, list(range(100))), (3.0, list(range(1000, 1100))), (0.0, [5000])]
    steps = [0, 3, WINDOW - 1, WINDOW, 5 * WINDOW + 7]
    first = Stream(groups, 8, lambda x: x % 10, 0, "a")
    in_order = {step: first.batch(step) for step in steps}
    again = Stream(groups, 8, lambda x: x % 10, 0, "a")
    assert {step: again.batch(step) for step in reversed(steps)} == in_order
    assert Stream(groups, 8, lambda x: x % 10, 1, "a").batch(0) != in_order[0]
    drawn = [x for step in range(WINDOW) for x in first.batch(step)]
    assert len(drawn) == 8 * WINDOW
    assert 0.65 < sum(x >= 1000 for x in drawn) / len(drawn) < 0.85
    assert max(drawn) < 5000
    spread = max(len({x % 10 for x in first.batch(step)}) for step in range(WINDOW))
    assert spread <= 2, "examples of a batch are of similar length"
    assert Stream(groups, 0, lambda x: x, 0, "a").batch(0) == []


class StoppedError(Exception):
    """Stands for a kill."""


def stop_saving(*anything: object) -> None:
    raise StoppedError


@pytest.mark.parametrize("stop_at", [3, 6, 8])
def test_a_stopped_run_goes_on_to_the_same_weights(
    mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_training(mixture, "llama", whole, CPU, fingerprint="x")
    assert not whole.with_name("whole.training").exists()
    steps = train_module._backward
    monkeypatch.setattr(train_module, "_CURVE_EVERY", 1)
    monkeypatch.setattr(train_module.time, "monotonic", iter(range(0, 10**9, 3600)).__next__)

    def stop(run, streams, step, with_student):  # type: ignore[no-untyped-def]
        if step == stop_at:
            raise StoppedError
        return steps(run, streams, step, with_student)

    monkeypatch.setattr(train_module, "_backward", stop)
    with pytest.raises(StoppedError):
        run_training(mixture, "llama", stopped, CPU, fingerprint="x")
    assert not stopped.exists()
    monkeypatch.undo()
    seen: list[int] = []

    def note(run, streams, step, with_student):  # type: ignore[no-untyped-def]
        seen.append(step)
        return steps(run, streams, step, with_student)

    monkeypatch.setattr(train_module, "_backward", note)
    run_training(mixture, "llama", stopped, CPU, fingerprint="x")
    assert seen[0] == stop_at
    for name in ("model.safetensors", "codi_projection.safetensors", "tokenizer.json"):
        assert (whole / name).read_bytes() == (stopped / name).read_bytes(), name


def test_a_run_killed_while_writing_its_model_loses_nothing(
    mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_training(mixture, "gpt2", whole, CPU, fingerprint="x")
    monkeypatch.setattr(run_module, "save_directory", stop_saving)
    with pytest.raises(StoppedError):
        run_training(mixture, "gpt2", stopped, CPU, fingerprint="x")
    monkeypatch.undo()
    monkeypatch.setattr(train_module, "_backward", stop_saving)
    run_training(mixture, "gpt2", stopped, CPU, fingerprint="x")
    for name in ("model.safetensors", "training.parquet"):
        assert (whole / name).read_bytes() == (stopped / name).read_bytes(), name


@pytest.mark.parametrize("damage", ["another run", "cut", "empty"])
def test_a_state_that_does_not_fit_is_not_continued(
    mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "model"
    run_training(mixture, "gpt2", whole, CPU, fingerprint="x")
    other = "another" if damage == "another run" else "x"
    changed = mixture.model_copy(update={"seed": 1})
    monkeypatch.setattr(run_module, "save_directory", stop_saving)
    with pytest.raises(StoppedError):
        run_training(changed, "gpt2", folder, CPU, fingerprint=other)
    monkeypatch.undo()
    state = tmp_path / "model.training" / "checkpoint.safetensors"
    if damage != "another run":
        state.write_bytes(state.read_bytes()[: 1000 if damage == "cut" else 0])
    run_training(mixture, "gpt2", folder, CPU, fingerprint="x")
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_trained_directory_loads_and_has_its_curves(mixture: Mixture, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    run_training(mixture, "gpt2", folder, CPU, fingerprint="x")
    model = load_directory(folder, "float32", "x")
    assert model.think(["What is 3 + 4?"], latents=2, max_new_tokens=4).answers
    curves = read_table(folder / "training.parquet", TRAINING).to_pandas()
    assert {"loss word teacher", "loss word student", "loss texts"} <= set(curves.metric)
    assert curves.step.max() == mixture.models["gpt2"].training.steps == 10
    assert curves[curves.metric.str.startswith("accuracy")].value.between(0, 1).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_cuda_follows_the_cpu(mixture: Mixture, tmp_path: Path) -> None:
    losses = []
    for device in (CPU, torch.device("cuda")):
        run_training(mixture, "llama", tmp_path / device.type, device, fingerprint="x")
        curves = read_table(tmp_path / device.type / "training.parquet", TRAINING).to_pandas()
        losses.append(curves[curves.metric.str.startswith("loss")].value.to_numpy())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_an_untrained_control_starts_from_the_same_numbers(
    mixture: Mixture, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    run_training(mixture, "llama", folder, CPU, fingerprint="x")
    settings = PathModel(weights="path", path=str(folder))
    control = load_model(settings, UntrainedControl(of="llama", weights="fresh", seed=3), folder)
    plain = fresh_model_like(control)
    ids = control.tokenizer.convert_tokens_to_ids([str(number) for number in range(1000)])
    half = control.language_model.config.hidden_size // 2
    start_numbers(plain)
    ours = control.language_model.get_input_embeddings().weight[ids, :half]
    theirs = plain.language_model.get_input_embeddings().weight[ids, :half]
    torch.testing.assert_close(ours, theirs)
    assert load_directory(folder, "float32", "x").number_waves
