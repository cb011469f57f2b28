"""What is written down holds no token, and no address with a key or a password in it."""

from __future__ import annotations

import io
import logging

import pytest

from saeflow.hub_token import hide_secrets, without_token

TOKEN = "hf_CanaryCanaryCanary00123456789"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"Bearer {TOKEN}", "Bearer ***"),
        ("403 for url 'https://cas.hf.co/x/y?Signature=abc&Key-Pair-Id=K'.",
         "403 for url 'https://cas.hf.co/x/y?***'."),
        ("(https://user:pass@proxy.org:3128/a)", "(https://***@proxy.org:3128/a)"),
        ("http://me:x@h/p?token=1 and more", "http://***@h/p?*** and more"),
        ("see https://huggingface.co/docs and a@b.org? Yes.",
         "see https://huggingface.co/docs and a@b.org? Yes."),
    ],
)  # fmt: skip
def test_secrets_are_cut_out(monkeypatch: pytest.MonkeyPatch, text: str, told: str) -> None:
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    assert without_token(text) == told


def test_logs_are_written_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(hide_secrets)
    log = logging.Logger("test")
    log.addHandler(handler)
    log.error("%s for %s at 100 %%", f"refused {TOKEN}", "https://h/x?Signature=abc")
    log.info("50 % of what is there")
    assert written.getvalue() == (
        "refused *** for https://h/x?*** at 100 %\n50 % of what is there\n"
    )
