"""The decoder that `temper` makes of --model.family llama or gpt2, written in plain PyTorch.

Same matrices, norms, RoPE, activations and tied head, so that FLOPs and parameter counts agree with temper's. Weights go to and from
Hugging Face folders by `save` and `load`, so that both programs can begin with the same ones. Shapes: B sequences, S positions, H heads,
D head width, C channels, F feed-forward width, V vocabulary.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

NORM_EPS, ROPE_THETA = 1e-5, 10000.0


@dataclass
class Shape:
    vocab: int
    layers: int
    width: int
    heads: int
    family: str = "llama"
    positions: int = 1024

    @property
    def ffn(self) -> int:
        return 4 * self.width if self.family == "gpt2" else ((8 * self.width + 2) // 3 + 63) // 64 * 64

    def matrices(self) -> list[tuple[int, int]]:
        """(out, in) of each matrix of the trunk, in order."""
        up = self.ffn if self.family == "gpt2" else 2 * self.ffn
        layer = [(3 * self.width, self.width), (self.width, self.width), (up, self.width), (self.width, self.ffn)]
        return layer * self.layers


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, NORM_EPS)


class Block(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.gpt2, self.heads = shape.family == "gpt2", shape.heads
        norm = (lambda: nn.LayerNorm(shape.width, eps=NORM_EPS)) if self.gpt2 else (lambda: RMSNorm(shape.width))
        up = shape.ffn if self.gpt2 else 2 * shape.ffn
        self.norm1, self.norm2 = norm(), norm()
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=self.gpt2)
        self.out = nn.Linear(shape.width, shape.width, bias=self.gpt2)
        self.up = nn.Linear(shape.width, up, bias=self.gpt2)
        self.down = nn.Linear(shape.ffn, shape.width, bias=self.gpt2)

    def forward(self, x, cos, sin):  # x (B, S, C); cos, sin (S, D/2)
        B, S, C = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, S, 3, self.heads, -1).unbind(2)  # (B, S, H, D)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, S, D)
        if not self.gpt2:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, S, D)
        x = x + self.out(mixed.transpose(1, 2).reshape(B, S, C))
        up = self.up(self.norm2(x))  # (B, S, F or 2F)
        if self.gpt2:
            return x + self.down(F.gelu(up, approximate="tanh"))
        gate, up = up.chunk(2, dim=-1)  # (B, S, F)
        return x + self.down(F.silu(gate) * up)


def rotate(x, cos, sin):  # (B, H, S, D)
    first, second = x.float().chunk(2, dim=-1)  # (B, H, S, D/2)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


class Decoder(nn.Module):
    def __init__(self, shape: Shape, seed: int = 0):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocab, shape.width)
        if shape.family == "gpt2":
            self.positions = nn.Embedding(shape.positions, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width, eps=NORM_EPS) if shape.family == "gpt2" else RMSNorm(shape.width)
        self.reset(seed)

    def reset(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / ((2 * self.shape.layers) ** 0.5 if residual else 1), generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)
        # Not buffers: a model held in bfloat16 must turn by float32 angles.
        half = self.shape.width // self.shape.heads // 2
        phases = torch.arange(self.shape.positions)[:, None] * ROPE_THETA ** (-torch.arange(half) / half)  # (P, D/2)
        self.cos, self.sin = phases.cos(), phases.sin()

    def forward(self, tokens):  # (B, S) -> logits (B, S, V)
        S = tokens.shape[1]
        x = self.embedding(tokens)  # (B, S, C)
        if self.shape.family == "gpt2":
            x = x + self.positions.weight[:S]
        for block in self.blocks:
            x = block(x, self.cos[:S], self.sin[:S])
        return F.linear(self.norm(x), self.embedding.weight)

    def parameter_count(self) -> int:
        return sum(weight.numel() for weight in self.parameters())


def folder_weights(model: Decoder) -> dict[str, torch.Tensor]:
    """Views of a llama-shaped model's weights under Hugging Face's names."""
    assert model.shape.family == "llama"
    C, half = model.shape.width, model.shape.ffn
    named = {"model.embed_tokens.weight": model.embedding.weight, "model.norm.weight": model.norm.weight}
    for number, block in enumerate(model.blocks):
        own = {
            "input_layernorm.weight": block.norm1.weight,
            "self_attn.q_proj.weight": block.qkv.weight[:C],
            "self_attn.k_proj.weight": block.qkv.weight[C : 2 * C],
            "self_attn.v_proj.weight": block.qkv.weight[2 * C :],
            "self_attn.o_proj.weight": block.out.weight,
            "post_attention_layernorm.weight": block.norm2.weight,
            "mlp.gate_proj.weight": block.up.weight[:half],
            "mlp.up_proj.weight": block.up.weight[half:],
            "mlp.down_proj.weight": block.down.weight,
        }
        named |= {f"model.layers.{number}.{name}": weight for name, weight in own.items()}
    return {name: weight.detach() for name, weight in named.items()}


def save(model: Decoder, folder: Path) -> None:
    shape = model.shape
    folder.mkdir(parents=True, exist_ok=True)
    config = dict(
        model_type="llama",
        architectures=["LlamaForCausalLM"],
        vocab_size=shape.vocab,
        hidden_size=shape.width,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.positions,
        rms_norm_eps=NORM_EPS,
        rope_theta=ROPE_THETA,
        hidden_act="silu",
        tie_word_embeddings=True,
        torch_dtype="float32",
    )
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "shape.json").write_text(json.dumps(asdict(shape)))
    save_file({name: weight.contiguous() for name, weight in folder_weights(model).items()}, folder / "model.safetensors", {"format": "pt"})


def load(folder: Path) -> Decoder:
    model = Decoder(Shape(**json.loads((folder / "shape.json").read_text())))
    saved = load_file(folder / "model.safetensors")
    for name, weight in folder_weights(model).items():
        weight.copy_(saved[name])
    return model
