"""Models that write texts about results: they judge answers or explain features."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from saeflow.config.base import Block, Repo


class LocalSettings(Block):
    """A causal language model in Hugging Face form, on this machine or from the hub."""

    kind: Literal["local"] = Field(description="A Hugging Face model, run by the job itself.")
    path: str | None = Field(
        None, min_length=1, description="The directory; relative to the repository."
    )
    repo: Repo | None = Field(
        None, description="Model repository on the hub, where no path is given."
    )
    revision: str | None = Field(
        None, pattern=r"^[0-9a-f]{40}$", description="Commit of the repository, in full."
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Precision of the weights and of the forward pass."
    )
    batch_size: int = Field(16, ge=1, description="Prompts per forward pass, at most.")
    max_new_tokens: int = Field(16, ge=1, le=4096, description="Longest reply, in tokens.")

    @model_validator(mode="after")
    def _one_place(self) -> LocalSettings:
        if (self.path is None) == (self.repo is None):
            given = "path and repo are both given" if self.path else "path is missing"
            raise ValueError(f"{given}; expected a path, or a repo with its revision")
        if self.repo is not None and self.revision is None:
            raise ValueError(
                "revision is missing; expected the commit of the repo, since a branch changes"
            )
        return self


class EndpointSettings(Block):
    """A model behind an OpenAI-compatible endpoint; replies may change from run to run."""

    kind: Literal["endpoint"] = Field(description="An OpenAI-compatible endpoint.")
    url: str = Field(
        description="Base address, such as https://api.openai.com/v1; /chat/completions is added."
    )
    model: str = Field(min_length=1, description="Model, as the endpoint calls it.")
    key_variable: str | None = Field(
        "OPENAI_API_KEY",
        description="Environment variable that holds the key; null: the endpoint needs none.",
    )
    timeout: float = Field(
        60.0, gt=0, le=3600, description="Longest silence of the endpoint, in seconds."
    )
    retries: int = Field(
        5,
        ge=0,
        le=20,
        description="Further tries of a request that is refused as too many, fails at the endpoint "
        "or takes too long, each after a longer wait.",
    )
    parallel: int = Field(4, ge=1, le=10, description="Requests at a time.")
    max_new_tokens: int = Field(16, ge=1, le=4096, description="Longest reply, in tokens.")

    # Checks of the block and not of its fields: what is found there may hold a key, and findings of
    # fields are told with their value.
    @model_validator(mode="after")
    def _no_secrets(self) -> EndpointSettings:
        try:
            parts = urlsplit(self.url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid or re.search(r"\s", self.url):
            raise ValueError("url is no address; expected one such as https://api.openai.com/v1")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(
                "url holds a user, a query or a fragment; expected the plain address, with the key "
                "in an environment variable"
            )
        name = self.key_variable
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise ValueError(
                "key_variable is no name of an environment variable in capital letters, such as "
                "OPENAI_API_KEY; the key itself has no place in the configuration"
            )
        return self


WriterSettings = LocalSettings | EndpointSettings
