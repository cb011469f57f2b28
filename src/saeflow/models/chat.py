"""Questions in a tokenizer's own chat template."""

from __future__ import annotations

from collections.abc import Callable

from transformers import PreTrainedTokenizerBase

_DATE = "26 Jul 2024"


def chat_renderer(
    tokenizer: PreTrainedTokenizerBase, **told: object
) -> Callable[[str], str] | None:
    """Function that puts a question into the chat template, ready to be answered.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's.
    **told : object
        What the template is told besides, such as ``enable_thinking=False``; a template takes no
        notice of names that it does not know.

    Returns
    -------
    callable or None
        From a user's message to the text to tokenize as any other prompt: a begin-of-text token that
        the tokenizer adds by itself is left out. None where there is no template.
    """
    if not tokenizer.chat_template:
        return None
    begin = tokenizer.bos_token
    adds_begin = bool(begin) and list(tokenizer("")["input_ids"])[:1] == [tokenizer.bos_token_id]

    def render(question: str) -> str:
        # Llama's templates tell the date: that of Llama 3.1 unless told another, later ones today's.
        text: str = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            tokenize=False,
            add_generation_prompt=True,
            date_string=_DATE,
            **told,
        )
        return text.removeprefix(begin) if adds_begin else text

    return render
