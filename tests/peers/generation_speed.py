"""Tokens per second of `temper generate` and of transformers.generate, in turn: generation_speed.py TEMPER [ROUNDS]

GPT-2 with 124M random weights, a prompt of 32 tokens, 128 greedy tokens with cache, two threads each; batches of 1 and 8 in fp32 and bf16."""

import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

PROMPT, NEW, THREADS = 32, 128, 2


def make(folder: Path) -> None:
    torch.manual_seed(0)
    config = GPT2Config(bos_token_id=None, eos_token_id=None)
    GPT2LMHeadModel(config).save_pretrained(folder)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": bytes_vocab(config.vocab_size), "merges": []},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def bytes_vocab(size: int) -> dict:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet, extra = {}, 256
    for byte in range(256):
        if byte in printable:
            alphabet[chr(byte)] = byte
        else:
            alphabet[chr(extra)] = byte
            extra += 1
    # Spelt in the alphabet, so that the file is a valid one.
    names = ["".join(letters) for letters in itertools.product("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN", repeat=3)]
    for index in range(256, size):
        alphabet[names[index - 256]] = index
    return alphabet


def ours(temper: str, folder: Path, batch: int, precision: str) -> float:
    prompts = folder / "prompts.txt"
    prompts.write_text("\n".join("x" * (PROMPT - 1) + chr(97 + i) for i in range(batch)) + "\n")
    arguments = [temper, "generate", "--model.path", str(folder), "--generate.prompts", str(prompts), "--generate.batch", str(batch)]
    arguments += ["--generate.max-new-tokens", str(NEW), "--generate.sample", "false", "--run.threads", str(THREADS)]
    done = subprocess.run(arguments + ["--run.precision", precision, "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["tokens_per_s"]


def theirs(model, batch: int) -> float:
    tokens = torch.full((batch, PROMPT), 120)
    mask = torch.ones_like(tokens)
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(tokens, attention_mask=mask, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, pad_token_id=0)
    return batch * (out.shape[1] - PROMPT) / (time.perf_counter() - start)


def main() -> None:
    temper = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            model = GPT2LMHeadModel.from_pretrained(folder, dtype=dtype).eval()
            theirs(model, 1)  # warm
            for batch in (1, 8):
                pairs = [(ours(temper, folder, batch, precision), theirs(model, batch)) for _ in range(rounds)]
                ratios = sorted(a / b for a, b in pairs)
                a, b = max(pair[0] for pair in pairs), max(pair[1] for pair in pairs)
                print(f"{precision}, batch {batch}: temper {a:7.1f} tokens/s, transformers {b:7.1f}; ratios {', '.join(f'{r:.2f}' for r in ratios)}", flush=True)


if __name__ == "__main__":
    main()
