"""Makes small random models with transformers, one folder a family, each with the logits that it gives: make_golden.py FOLDER"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

VOCAB, WIDTH, LAYERS, HEADS, POSITIONS = 61, 32, 2, 4, 40

SHAPE = dict(
    vocab_size=VOCAB,
    hidden_size=WIDTH,
    intermediate_size=48,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    num_key_value_heads=2,
    max_position_embeddings=POSITIONS,
    bos_token_id=0,
    eos_token_id=0,
)

CONFIGS = {
    "gpt2": GPT2Config(
        vocab_size=VOCAB, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=POSITIONS, bos_token_id=0, eos_token_id=0
    ),
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "llama_tied": LlamaConfig(**SHAPE, tie_word_embeddings=True, rms_norm_eps=1e-5),
    "mistral": MistralConfig(**SHAPE, sliding_window=None),
    "qwen2": Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=False),
    "llama3": LlamaConfig(
        **SHAPE,
        tie_word_embeddings=True,
        rope_parameters=dict(
            rope_type="llama3",
            rope_theta=500.0,
            factor=4.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=16,
        ),
    ),
}


def main() -> None:
    out = Path(sys.argv[1])
    for seed, (name, config) in enumerate(CONFIGS.items()):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for parameter in model.parameters():  # biases and norms too, or a forgotten one would not show
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(out / name)
        tokens = torch.randint(VOCAB, (3, POSITIONS))
        with torch.no_grad():
            logits = model(tokens).logits
        save_file({"tokens": tokens, "logits": logits.contiguous()}, out / name / "expected.safetensors")


if __name__ == "__main__":
    main()
