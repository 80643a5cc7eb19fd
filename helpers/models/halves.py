"""BLIP-2 in two halves, so that a small GPU holds one at a time. Both read the whole model's checkpoint."""

from torch import nn, zeros
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2PreTrainedModel,
    Blip2QFormerModel,
    Blip2VisionModel,
)


class VisionHalf(Blip2ForConditionalGeneration):
    """Vision encoder, Q-Former, projection: photos -> features (n, queries, width) for the other half."""

    _keys_to_ignore_on_load_unexpected = [r"^language_model\."]  # noqa: RUF012 the library's own attribute

    def __init__(self, config: Blip2Config):
        Blip2PreTrainedModel.__init__(self, config)  # the parent's own constructor would build both halves
        width = config.qformer_config.hidden_size
        self.vision_model = Blip2VisionModel._from_config(config.vision_config)
        self.query_tokens = nn.Parameter(zeros(1, config.num_query_tokens, width))
        self.qformer = Blip2QFormerModel._from_config(config.qformer_config)
        self.language_projection = nn.Linear(width, config.text_config.hidden_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.vision_model.get_input_embeddings()

    def get_output_embeddings(self) -> None:
        return None


class LanguageHalf(Blip2ForConditionalGeneration):
    """OPT or T5: features of the vision half -> words."""

    _keys_to_ignore_on_load_unexpected = [r"^(vision_model|qformer|language_projection)\.", "^query_tokens$"]  # noqa: RUF012
    _keep_in_fp32_modules = None

    def __init__(self, config: Blip2Config):
        Blip2PreTrainedModel.__init__(self, config)
        kind = AutoModelForCausalLM if config.use_decoder_only_language_model else AutoModelForSeq2SeqLM
        self.language_model = kind.from_config(config.text_config)
        self.post_init()


HALVES = {None: Blip2ForConditionalGeneration, "vision": VisionHalf, "language": LanguageHalf}
