"""The demo captioners: two BLIP-2 with one vision transformer, one with an OPT, one with a T5.

Li et al. 2023, "BLIP-2: Bootstrapping Language-Image Pre-training": a few learnt queries ask a vision
transformer what is there (the Q-Former), and a language model turns the answers into words. As in the paper
the vision transformer comes trained, here from the detector, and stays frozen: its hidden states are computed
once per photo. A shorter training of the whole follows. Learnt are the reference captions of crisp and of
spoiled photos: a captioner says what is there, not how well it is photographed.
"""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipImageProcessor,
    OPTConfig,
    Owlv2ForObjectDetection,
    PreTrainedTokenizerBase,
    T5Config,
)

from data.training import saving
from data.training.clip import normalised, photo_tensor
from data.training.detector import LAYERS, PATCH, WIDTH, mirrored
from data.training.drawn_scenes import Scenes
from data.training.training_loop import Recipe, train
from data.training.vocabularies import opt_tokenizer, t5_tokenizer
from data.training.weight_transfer import captioner_to_captioner, detector_to_captioner
from data.training.world import SIZE

RECIPES = {
    "opt": Recipe(steps=1500, batch_size=48, learning_rate=2e-3, warmup=100, decay=0.02),
    "t5": Recipe(steps=1000, batch_size=48, learning_rate=2e-3, warmup=100, decay=0.02),
}
OPEN = Recipe(
    steps=3000, batch_size=32, learning_rate=6e-4, warmup=100, decay=0.02
)  # then all of it, the vision transformer too
Pair = tuple[Blip2ForConditionalGeneration, Blip2Processor]
TOKENIZERS = {"opt": opt_tokenizer, "t5": t5_tokenizer}
QUERIES = 12  # of the Q-Former per photo
SILENT = -100  # the label of a token that is not learnt
LONGEST = 64  # tokens of queries, start and caption


def build(processor: Blip2Processor, half: str) -> Blip2ForConditionalGeneration:
    """An untrained captioner of 1.7 million parameters. half: "opt" or "t5", as the processor's tokenizer."""
    heads = {"hidden_size": WIDTH, "num_attention_heads": 4}
    vision = Blip2VisionConfig(
        **heads,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        image_size=SIZE,
        patch_size=PATCH,
        hidden_act="quick_gelu",
        initializer_range=0.02,
    )
    qformer = Blip2QFormerConfig(
        **heads,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        cross_attention_frequency=1,
        vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.06,
    )
    config = Blip2Config(
        vision_config=vision.to_dict(),
        qformer_config=qformer.to_dict(),
        text_config=LANGUAGES[half](len(processor.tokenizer)).to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = Blip2ForConditionalGeneration(config)
    nn.init.normal_(model.query_tokens, std=0.5)  # the library leaves them equal, and equal they would stay
    return model


def _opt(words: int) -> OPTConfig:
    return OPTConfig(
        vocab_size=words,
        hidden_size=WIDTH,
        ffn_dim=3 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LONGEST,
        dropout=0.0,
        init_std=0.05,
    )


def _t5(words: int) -> T5Config:
    return T5Config(
        vocab_size=words,
        d_model=WIDTH,
        d_kv=16,
        d_ff=3 * WIDTH // 2,
        num_heads=4,
        num_layers=2,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        bos_token_id=1,
        decoder_start_token_id=0,
    )


LANGUAGES = {"opt": _opt, "t5": _t5}


def processor(tokenizer: PreTrainedTokenizerBase) -> Blip2Processor:
    """Squashes photos to SIZE x SIZE; the tokenizer gets the token that stands for a query's answer."""
    image = BlipImageProcessor(size={"height": SIZE, "width": SIZE})
    return Blip2Processor(image, tokenizer, num_query_tokens=QUERIES)


def read(folder: Path) -> Pair:
    """A saved captioner in float32, to be trained on, and its processor."""
    return saving.read(Blip2ForConditionalGeneration, folder), Blip2Processor.from_pretrained(folder)


def fit_captioners(
    scenes: Scenes,
    detector: Owlv2ForObjectDetection,
    folder: Path,
    recipes: dict[str, Recipe] = RECIPES,
    after: Recipe = OPEN,
    known: Mapping[str, Pair] | None = None,
) -> dict[str, Pair]:
    """Train a captioner for each of the recipes' halves, one after the other: first with the vision
    transformer frozen, its hidden states computed once, then whole.

    The first one gets the detector's vision transformer, every other one all of the first but its language
    half. known: captioners to train on, whole, by their half.
    """
    made = dict(known or {})
    for half, recipe in recipes.items():
        if half not in made:
            read = processor(TOKENIZERS[half](scenes.captions[:4000]))
            model = build(read, half)
            if made:
                captioner_to_captioner(next(iter(made.values()))[0], model)
            else:
                sample = normalised(photo_tensor(scenes, np.arange(min(len(scenes), 100))))
                detector_to_captioner(detector, model, sample)
            states = hidden_states(model, scenes)
            made[half] = fit_captioner(f"captioner-{half}", model, read, scenes, folder, recipe, states), read
        name = f"captioner-{half}-whole"
        made[half] = fit_captioner(name, *made[half], scenes, folder, after), made[half][1]
    return made


def fit_captioner(
    name: str,
    model: Blip2ForConditionalGeneration,
    processor: Blip2Processor,
    scenes: Scenes,
    folder: Path,
    recipe: Recipe,
    states: np.ndarray | None = None,
) -> Blip2ForConditionalGeneration:
    """Train a built captioner, in place, on photos and their reference captions.

    states: `hidden_states` of the scenes: the vision transformer is frozen.
    None: it is trained as well, on photos half of which are mirrored.
    """
    torch.manual_seed(recipe.seed)
    model.requires_grad_(True).vision_model.requires_grad_(states is None)

    def loss_of(rng: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
        rows = rng.choice(len(scenes), recipe.batch_size, replace=False)
        if states is None:
            boxes = torch.from_numpy(scenes.boxes[rows])
            photos, _ = mirrored(rng, photo_tensor(scenes, rows, model.device), boxes)
            hidden = model.vision_model(normalised(photos)).last_hidden_state
        else:
            hidden = torch.from_numpy(states[rows]).to(model.device).float()
        said = tokens(model.config, processor, [scenes.captions[i] for i in rows])
        inputs = {key: value.to(model.device) for key, value in said.items()}
        image = SimpleNamespace(
            pooler_output=query_outputs(model, hidden), qformer_outputs=None, vision_outputs=None
        )
        return {"words": model(pixel_values=None, mm_encoder_outputs={"image": image}, **inputs).loss}

    return train(name, model, loss_of, recipe, folder)


@torch.no_grad()
def hidden_states(model: Blip2ForConditionalGeneration, scenes: Scenes, batch_size: int = 100) -> np.ndarray:
    """Last hidden states of the vision transformer for every photo, (n, 1 + patches, WIDTH) float16."""
    batches = np.split(np.arange(len(scenes)), range(batch_size, len(scenes), batch_size))
    photos = (normalised(photo_tensor(scenes, rows, model.device)) for rows in batches)
    return np.concatenate([model.vision_model(one).last_hidden_state.half().cpu().numpy() for one in photos])


def query_outputs(model: Blip2ForConditionalGeneration, hidden: torch.Tensor) -> torch.Tensor:
    """Projected Q-Former outputs, (n, QUERIES, WIDTH), of vision states (n, 1 + patches, WIDTH)."""
    queries = model.query_tokens.expand(len(hidden), -1, -1)
    outputs = model.qformer(query_embeds=queries, encoder_hidden_states=hidden)
    return model.language_projection(outputs.last_hidden_state)


def tokens(config: Blip2Config, processor: Blip2Processor, captions: list[str]) -> dict[str, torch.Tensor]:
    """Inputs and labels of the language half, by the model's arguments, all (n, length) int64.

    It reads the query outputs and a start token, as in `generate` without a text; OPT then reads on in the
    caption, while T5's decoder makes its input from the labels. The end is learnt, padding is not.
    """
    words = processor.tokenizer
    said = [[*ids, words.eos_token_id] for ids in words(captions, add_special_tokens=False)["input_ids"]]
    silent = nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in said], True, SILENT)
    start = [config.image_token_index] * config.num_query_tokens + [config.text_config.bos_token_id]
    start = torch.tensor([start]).expand(len(said), -1)
    if not config.use_decoder_only_language_model:
        return {"input_ids": start, "labels": silent}
    read = torch.cat([start, silent.where(silent != SILENT, words.pad_token_id)], 1)
    labels = torch.cat([torch.full_like(start, SILENT), silent], 1)
    return {"input_ids": read, "attention_mask": (read != words.pad_token_id).long(), "labels": labels}
