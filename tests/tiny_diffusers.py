"""Tiny random pipelines of diffusers, one of each Cosmos kind, with tokenizers made here and an idle guard."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

WORDS = ["a", "red", "ball", "rolls", "over", "the", "floor", "blue", "box", "falls", "blurry", "dark"]
FRAMES, HEIGHT, WIDTH = 9, 32, 48
TEXT_WIDTH = 24
KINDS = ("cosmos1_text2world", "cosmos1_video2world", "cosmos2_text2image", "cosmos2_video2world", "cosmos2_5_predict")


class AllowAll:
    """A guard without opinions: diffusers' pipelines insist on having one."""

    def to(self, device: str) -> "AllowAll":
        return self

    def check_text_safety(self, prompt: str) -> bool:
        return True

    def check_video_safety(self, frames: np.ndarray) -> np.ndarray:
        return frames


def randomize(module: nn.Module, seed: int = 0, scale: float = 1.0) -> nn.Module:
    """Weights of unit gain, so that outputs, gates and modulations are all far from zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1 or "norm" in name.split(".")[-2]:
                offset = 0.0 if name.endswith("bias") else 1.0
                parameter.copy_(offset + 0.1 * draw)
            else:
                fan_in = parameter[0].numel()
                parameter.copy_(scale * draw / fan_in**0.5)
    return module.eval().requires_grad_(False)


def without_torchvision() -> None:
    """diffusers' transformer resizes the padding mask, which is all zero, with torchvision: torch does here."""
    from diffusers.models.transformers import transformer_cosmos

    def resize(mask: torch.Tensor, size: list[int], interpolation: object) -> torch.Tensor:
        return nn.functional.interpolate(mask, size=size, mode="nearest")

    functional, mode = SimpleNamespace(resize=resize), SimpleNamespace(NEAREST="nearest")
    transformer_cosmos.transforms = SimpleNamespace(functional=functional, InterpolationMode=mode)


def make(kind: str) -> object:
    """A pipeline of the kind, ready to be called or saved."""
    import diffusers

    without_torchvision()
    dit, vae, text, scheduler, name = {
        "cosmos1_text2world": (_transformer(16, learned=True), _wavelet, _t5, _edm, "CosmosTextToWorldPipeline"),
        "cosmos1_video2world": (_transformer(17, learned=True), _wavelet, _t5, _edm, "CosmosVideoToWorldPipeline"),
        "cosmos2_text2image": (_transformer(16), _wan, _t5, _flow, "Cosmos2TextToImagePipeline"),
        "cosmos2_video2world": (_transformer(17), _wan, _t5, _flow, "Cosmos2VideoToWorldPipeline"),
        "cosmos2_5_predict": (
            _transformer(17, projection=2 * 16),
            _wan,
            _qwen,
            _unipc,
            "Cosmos2_5_PredictBasePipeline",
        ),
    }[kind]
    encoder, tokenizer = text()
    pipeline = getattr(diffusers, name)(
        text_encoder=encoder,
        tokenizer=tokenizer,
        transformer=dit,
        vae=vae(),
        scheduler=scheduler(),
        safety_checker=AllowAll(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save(pipeline: object, folder: Path) -> Path:
    """The pipeline's folder, without the guard, which has no files."""
    guard, pipeline.safety_checker = pipeline.safety_checker, None
    pipeline.register_modules(safety_checker=None)
    pipeline.save_pretrained(folder)
    pipeline.register_modules(safety_checker=guard)
    return folder


def clip(num_pixel_frames: int, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """Smooth random pixel frames, uint8 (T, H, W, 3)."""
    noise = torch.rand(1, 3, num_pixel_frames, 4, 6, generator=torch.Generator().manual_seed(seed))
    smooth = nn.functional.interpolate(noise, size=(num_pixel_frames, height, width), mode="trilinear")
    return (smooth[0] * 255).to(torch.uint8).permute(1, 2, 3, 0).numpy()


def _transformer(in_channels: int, learned: bool = False, projection: int | None = None) -> nn.Module:
    from diffusers import CosmosTransformer3DModel

    net = CosmosTransformer3DModel(
        in_channels=in_channels, out_channels=16, num_attention_heads=2, attention_head_dim=16, num_layers=2,
        mlp_ratio=2, text_embed_dim=TEXT_WIDTH, adaln_lora_dim=4, max_size=(128, 240, 240), patch_size=(1, 2, 2),
        rope_scale=(2.0, 1.0, 1.0) if learned else (1.0, 3.0, 3.0), concat_padding_mask=True,
        extra_pos_embed_type="learnable" if learned else None, use_crossattn_projection=projection is not None,
        crossattn_proj_in_channels=projection or TEXT_WIDTH, encoder_hidden_states_channels=TEXT_WIDTH,
    )  # fmt: skip
    return randomize(net, seed=1, scale=0.7)


def _wan() -> nn.Module:
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1)
    return randomize(vae, seed=2)


def _wavelet() -> nn.Module:
    from diffusers import AutoencoderKLCosmos

    vae = AutoencoderKLCosmos(
        encoder_block_out_channels=(4, 8, 8, 8),
        decode_block_out_channels=(8, 8, 8, 8),
        num_layers=1,
        latent_channels=16,
    )
    return randomize(vae, seed=2)


def _t5() -> tuple[nn.Module, object]:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    vocabulary = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in WORDS)]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0 - i / 100) for i, piece in enumerate(vocabulary)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    config = T5Config(
        vocab_size=32,
        d_model=TEXT_WIDTH,
        d_kv=8,
        num_heads=2,
        num_layers=1,
        d_ff=32,
        dropout_rate=0.0,
        is_encoder_decoder=False,
    )
    fast = T5TokenizerFast(
        tokenizer_object=tokenizer, extra_ids=0, eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )
    return randomize(T5EncoderModel(config), seed=3), fast


def _qwen() -> tuple[nn.Module, object]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {letter: i for i, letter in enumerate(letters + marks)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=marks[0], eos_token=marks[2])
    fast.add_special_tokens({"additional_special_tokens": marks[1:]})
    fast.padding_side = "right"
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{{ c['text'] }}{% endfor %}"
        "<|im_end|>\n{% endfor %}"
    )
    size = len(vocabulary) + 8
    text = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "vocab_size": size, "intermediate_size": 32,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2], "rope_type": "default"},
        "max_position_embeddings": 1024,
    }  # fmt: skip
    vision = {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 16}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, pad_token_id=vocabulary[marks[0]])
    return randomize(Qwen2_5_VLForConditionalGeneration(config), seed=3), fast


def _edm() -> object:
    from diffusers import EDMEulerScheduler

    return EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, final_sigmas_type="sigma_min")


def _flow() -> object:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    scheduler.register_to_config(sigma_max=80.0, sigma_min=0.002, sigma_data=1.0, final_sigmas_type="sigma_min")
    return scheduler


def _unipc() -> object:
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(
        use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction", sigma_max=200.0, sigma_min=0.01
    )


TEXTS = {"t5": _t5, "reason1": _qwen}
