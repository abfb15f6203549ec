"""A small tokenizer. Imports neither torch nor the SDK: the agent's tests run where these are not."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

WORDS = ("the", "pump", "is", "hot", "cold", "loud", "quiet", "and", "valve", "leaks")


def save_tokenizer(path: Path, *, padding: bool = True) -> Path:
    """Write a tokenizer of a few words, [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, then ``WORDS``."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    if padding:
        tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    tokenizer.save(str(path))
    return path
