"""The demo tokenizers: vocabularies in the published file formats, learnt on the demo world's captions."""

import json
import math
import re
import string
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer, GPT2Tokenizer, T5Tokenizer

VOCABULARY = 1024
LANGUAGE_VOCABULARY = 384  # of the captioners, which only say what the demo world holds


def clip_tokenizer(texts: list[str], folder: Path) -> CLIPTokenizer:
    """A CLIPTokenizer of 77 tokens, learnt from `texts`; vocab.json and merges.txt go to `folder`.

    Every byte is in the alphabet, so any text of any user can be said, only in more tokens.
    """
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    words = [word for text in texts for word in text.replace(",", " ,").split()]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2 - len(alphabet),
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(words, trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    pieces = alphabet + [letter + "</w>" for letter in alphabet]
    pieces += [piece for piece in learnt["vocab"] if piece not in set(pieces)]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    merges = "\n".join(" ".join(pair) for pair in learnt["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def opt_tokenizer(texts: list[str]) -> GPT2Tokenizer:
    """OPT's kind of tokenizer, learnt from `texts`: byte-level pieces, </s> before a text, <pad> 1, </s> 2.

    Every byte is in the alphabet, and <image> is the last token, as BLIP-2 wants it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials, alphabet = ["<s>", "<pad>", "</s>", "<unk>"], sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=LANGUAGE_VOCABULARY,
        special_tokens=specials,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in learnt["merges"]]
    named = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    return GPT2Tokenizer(vocab=learnt["vocab"], merges=merges, add_bos_token=True, **named)


def t5_tokenizer(texts: list[str]) -> T5Tokenizer:
    """T5's kind of tokenizer: the words of `texts` by log frequency, then letters; </s> 1 ends a text.

    Words are counted, not learnt: unigram training cuts the few words of the demo world into letters.
    """
    counts = Counter(piece for text in texts for piece in re.findall(r"[^\s,]+|,", text))
    pieces = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0}
    for word, count in counts.most_common():
        pieces[word if word == "," else f"▁{word}"] = math.log(count / counts.total())
    for letter in ("▁", *string.ascii_letters, *string.digits, *string.punctuation):
        pieces.setdefault(letter, -20.0)
    return T5Tokenizer(vocab=list(pieces.items()), extra_ids=0)
