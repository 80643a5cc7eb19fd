"""The demo tokenizers: byte-level vocabularies in the published file formats, learnt on the demo world's captions."""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

VOCABULARY = 1024


def clip_tokenizer(texts: list[str], folder: Path) -> CLIPTokenizer:
    """A CLIPTokenizer of 77 tokens whose vocabulary was learnt from `texts`; vocab.json and merges.txt go to `folder`.

    Every byte is in the alphabet, so any text of any user can be said, only in more tokens.
    """
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    words = [word for text in texts for word in text.replace(",", " ,").split()]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2 - len(alphabet), initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
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
