"""Short documents on eight planted topics."""

from saeflow.datasets.texts.documents.drawing import TOPIC_WORDS, document_texts, neutral_prompts

__all__ = ["TOPIC_WORDS", "document_texts", "neutral_prompts"]
