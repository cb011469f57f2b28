"""What no module may do: run what it reads, forget to escape, wait for ever, write where others write."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

RUNS_WHAT_IT_READS = {
    "pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle",
}  # fmt: skip
SHELLS = {
    "os.system",
    "os.popen",
    "os.spawnl",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
}
UNSAFE_YAML = {"yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"}
REQUESTS = {"get", "post", "put", "patch", "delete", "head", "options", "request"}
ASKS = {"requests", "session", "httpx"}
"""Names of what sends requests."""
TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/shm/")

ALLOWED = {
    (
        "src/saeflow/models/checkpoint_files.py",
        "imports pickle",
    ): "the exception of a refused pickle",
    ("src/saeflow/gpu_slots.py", "a temporary file by a name that can be guessed"): (
        "all of a user's jobs must find it; refused unless it is that user's own, mode 700"
    ),
    ("tests/unit/test_own_code.py", "torch.save"): "makes the pickles that must be refused",
    (
        "tests/unit/test_own_code.py",
        "torch.load without weights_only",
    ): "shows that the payload works",
    ("tests/unit/test_own_code.py", "trust_remote_code"): "the block that trusts a model",
    ("tests/unit/test_model_loading.py", "torch.save"): "weights as old repositories hold them",
    ("tests/unit/test_language_model.py", "torch.save"): "weights as old repositories hold them",
    ("tests/unit/test_codi_checkpoint.py", "torch.save"): "checkpoints as CODI leaves them",
    ("tests/unit/test_codi_checkpoint.py", "torch.load without weights_only"): "what is refused",
    ("tests/lookalikes/codi.py", "torch.save"): "checkpoints as CODI's training leaves them",
    ("tests/unit/test_interventions_docs.py", "exec"): "runs the examples of our own documentation",
    ("tests/workflow/test_readme.py", "exec"): "runs the examples of our own README",
    ("tests/unit/test_matched_texts.py", "eval"): "sums of our own generator",
    ("tests/unit/test_maximal.py", "eval"): "sums of our own generator",
    ("tests/unit/test_mixture.py", "eval"): "sums of our own generator",
    ("tests/unit/test_texts_tasks.py", "eval"): "sums of our own generator",
    ("tests/unit/test_report.py", "Environment without autoescape"): "captions of reStructuredText",
    ("tests/unit/test_calibrated_report.py", "Environment without autoescape"): "likewise",
}
"""One by one, with the reason."""


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> object:
    """Value of a keyword: a constant, the node of anything else, None where it is not given."""
    for each in call.keywords:
        if each.arg == name:
            return each.value.value if isinstance(each.value, ast.Constant) else each.value
    return None


def calls(call: ast.Call) -> Iterator[str]:
    name = dotted(call.func)
    last = name.rsplit(".", 1)[-1]
    if name in ("eval", "exec", "builtins.eval", "builtins.exec"):
        yield last
    if name in SHELLS:
        yield name
    if name.startswith("subprocess.") and keyword(call, "shell") not in (None, False):
        yield "subprocess with a shell"
    if name in UNSAFE_YAML:
        yield name
    if name == "torch.save":
        yield name
    if name == "torch.load" and keyword(call, "weights_only") is not True:
        yield "torch.load without weights_only"
    if keyword(call, "allow_pickle") not in (None, False):
        yield "allow_pickle"
    if keyword(call, "trust_remote_code") is True:
        yield "trust_remote_code"
    if last == "from_pretrained" and keyword(call, "trust_remote_code") is None:
        yield "from_pretrained without trust_remote_code"
    if keyword(call, "verify") is False:
        yield "requests without certificates"
    if last == "Environment" and keyword(call, "autoescape") is not True:
        yield "Environment without autoescape"
    if last == "Markup":
        yield "Markup"
    if last in REQUESTS and name.split(".")[0] in ASKS and keyword(call, "timeout") is None:
        yield "requests without a timeout"
    if last == "urlopen" and keyword(call, "timeout") is None:
        yield "requests without a timeout"
    if name in ("tempfile.mktemp", "mktemp"):
        yield "a temporary file by a name that can be guessed"


def findings(text: str) -> set[str]:
    """What a Python file does that none may."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            for module in modules:
                if module.split(".")[0] in RUNS_WHAT_IT_READS:
                    found.add(f"imports {module.split('.')[0]}")
            if isinstance(node, ast.ImportFrom) and "Markup" in names:
                found.add("Markup")
        elif isinstance(node, ast.Call):
            found.update(calls(node))
        elif isinstance(node, ast.Constant) and str(node.value).startswith(TEMPORARY):
            found.add("a temporary file by a name that can be guessed")
    return found


PYTHON = [
    path
    for folder in ("src", "workflow", "envs", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
LOADS_OWN_MODELS = "from_pretrained without trust_remote_code"
"""Tests and benchmarks load what they made or what is bundled; transformers then asks nobody."""


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_module_does_nothing_forbidden(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    found = findings(path.read_text(encoding="utf-8"))
    if name.startswith("tests/"):
        found -= {LOADS_OWN_MODELS, "a temporary file by a name that can be guessed"}
    assert {each for each in found if (name, each) not in ALLOWED} == set()


def test_every_exception_is_needed() -> None:
    for name, what in ALLOWED:
        assert what in findings((ROOT / name).read_text(encoding="utf-8")), (name, what)


PLANTED = {
    "imports pickle": "from pickle import loads",
    "imports joblib": "import joblib.memory as m",
    "imports shelve": "def f():\n    import shelve",
    "torch.load without weights_only": "import torch\ntorch.load(p, weights_only=False)",
    "torch.save": "torch.save(x, p)",
    "yaml.load": "yaml.load(text, Loader=L)",
    "eval": "eval(text)",
    "exec": "exec(text, {})",
    "os.system": "os.system('x')",
    "subprocess with a shell": "subprocess.run(c, shell=True)",
    "allow_pickle": "np.load(p, allow_pickle=True)",
    "trust_remote_code": "A.from_pretrained(p, trust_remote_code=True)",
    LOADS_OWN_MODELS: "A.from_pretrained(p)",
    "requests without certificates": "session.post(u, verify=False, timeout=3)",
    "Environment without autoescape": "jinja2.Environment(loader=l)",
    "Markup": "from markupsafe import Markup",
    "requests without a timeout": "requests.get(u)",
    "a temporary file by a name that can be guessed": "open('/tmp/saeflow.log')",
}


@pytest.mark.parametrize("what", PLANTED)
def test_planted_code_is_found(what: str) -> None:
    assert what in findings(PLANTED[what])


def test_what_is_allowed_is_not_found() -> None:
    assert not findings(
        "import json\nmodel.eval()\ntorch.load(p, weights_only=True)\nyaml.safe_load(t)\n"
        "Environment(loader=l, autoescape=True)\nrequests.get(u, timeout=3)\nresults.get(k)\n"
        "A.from_pretrained(p, trust_remote_code=trusted)\nsubprocess.run(c)\nre.compile(p)\n"
    )


UNESCAPED = re.compile(r"\|\s*safe\b|autoescape\s+false|\bMarkup\b|\bxmlattr\b", re.IGNORECASE)
OWN_WORDS = re.compile(r"('[^'{}]*'|\"[^\"{}]*\")\s*\|\s*safe\b")
"""Text of the template itself, which no data reach."""
TEMPLATES = sorted((ROOT / "workflow" / "report").glob("*.jinja"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_template_escapes_everything(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not UNESCAPED.findall(OWN_WORDS.sub("", text))
    # Attributes without quotes end at a blank, which no escaping replaces.
    assert not re.findall(r"=\{\{", text)
    assert not re.findall(r"<\w[^>]*\son\w+\s*=", text)


MAKES_ELEMENTS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    r"|createContextualFragment|DOMParser|setTimeout\(\s*[\"']"
)
SCRIPTS = sorted((ROOT / "workflow" / "report").glob("*.js"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_makes_no_elements_of_texts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not MAKES_ELEMENTS.findall(text)
    # DataTables takes what `render` gives as HTML: only what is escaped, and numbers, which `value` is of.
    for inserted in re.findall(r"`[^`]*<[^`]*`", text):
        for value in re.findall(r"\$\{([^}]*)\}", inserted):
            assert re.match(r"(escaped|featureId|fixed)\(|value$", value), inserted


@pytest.mark.parametrize(
    "text",
    ["{{ x | safe }}", "{% autoescape false %}", "{{ 'a' ~ x|safe }}", "{{ ('a' ~ x) | safe }}"],
)
def test_planted_template_is_found(text: str) -> None:
    assert UNESCAPED.search(OWN_WORDS.sub("", text))


RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_rules_hand_on_no_variable_of_the_environment(path: Path) -> None:
    """Snakemake writes what `envvars:` names into the commands that it submits, and shells quote nothing."""
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"^\s*(envvars|shell|run):", text, re.MULTILINE)
    assert not re.findall(r"HF_TOKEN|API_KEY", text)


def test_nothing_in_the_repository_looks_like_a_key() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git repository")
    from saeflow.config.secrets import LOOKS

    for name in listed.stdout.split("\0"):
        path = ROOT / name
        told = path.suffix in (".py", ".smk", ".yaml", ".md", ".toml") and path.is_file()
        # Tests hold keys of their own making.
        if told and not name.startswith("tests/"):
            assert LOOKS.search(path.read_text(encoding="utf-8")) is None, name
