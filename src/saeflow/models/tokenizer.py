"""Tokenizers of models that this project makes: no vocabulary to fetch, any UTF-8 fits."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
BEGIN_OF_TEXT = "<|begin_of_text|>"
DIGITS = "0123456789"
NUMBERS = tuple(
    "".join(digits) for length in (1, 2, 3) for digits in itertools.product(DIGITS, repeat=length)
)
"""Every run of one to three digits: a token each."""
# Words with the blank before them, runs of at most three digits, punctuation, blanks.
_PIECES = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_tokenizer() -> PreTrainedTokenizerBase:
    """Byte-level BPE without merges: 256 byte tokens and an end-of-text token.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
        Adds no token of its own, as GPT-2's does not.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT)


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, *, adds_begin: bool
) -> PreTrainedTokenizerBase:
    """Train byte-level BPE in which every run of up to three digits is one token, as in Llama 3.

    Parameters
    ----------
    texts : iterable of str
        What the merges are learned from; digits in it are left out.
    vocab_size : int
        Largest number of tokens, special ones included.
    adds_begin : bool
        Whether a begin-of-text token is put before every text, as Llama's tokenizer does.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
        Decoding what it encoded gives the same text, whatever the text.
    """
    special = [END_OF_TEXT, BEGIN_OF_TEXT] if adds_begin else [END_OF_TEXT]
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = _pre_tokenizer()
    learned.train_from_iterator(
        (re.sub(r"\d", "", text) for text in texts),
        trainers.BpeTrainer(
            vocab_size=vocab_size - len(NUMBERS) + len(DIGITS) - len(special),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    model = json.loads(learned.to_str())["model"]
    vocabulary: dict[str, int] = dict(model["vocab"])
    for number in NUMBERS:
        vocabulary.setdefault(number, len(vocabulary))
    merges = [(left, right) for left, right in model["merges"]]
    # With ignore_merges a run of digits is looked up whole: merges would split 313 as 3|13.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    if adds_begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN_OF_TEXT} $A",
            special_tokens=[(BEGIN_OF_TEXT, tokenizer.token_to_id(BEGIN_OF_TEXT))],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        bos_token=BEGIN_OF_TEXT if adds_begin else None,
        clean_up_tokenization_spaces=False,
    )


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
