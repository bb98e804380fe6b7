"""Makes what transformers decodes from the golden models: make_generation.py MODELS FOLDER

FOLDER/processors.safetensors: scores before and after each logits processor, one after another and each alone.
FOLDER/generation.json: greedy and beam outputs for 20 prompts, as one batch with padding on the left."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.generation import logits_process as processors

NEW_TOKENS = 20
PROMPTS = 20
FAMILIES = ["gpt2", "llama", "llama_tied", "mistral", "qwen2", "qwen3"]
ENDS = [0, 7, 13]  # never in a prompt: transformers takes pads for text where n-grams are counted

CASES = {
    "greedy": {},
    "greedy, penalties": dict(repetition_penalty=1.3, no_repeat_ngram_size=3),
    "greedy, bigrams, several ends": dict(no_repeat_ngram_size=2, eos_token_id=ENDS, min_new_tokens=5),
    "beams": dict(num_beams=4, num_return_sequences=2),
    "beams, several ends, short": dict(num_beams=3, length_penalty=-0.5, eos_token_id=ENDS, num_return_sequences=3),
    "beams, early": dict(num_beams=3, early_stopping=True, length_penalty=2.0, eos_token_id=ENDS),
    "beams, never": dict(num_beams=4, early_stopping="never", length_penalty=1.5, eos_token_id=ENDS),
    "beams, penalties": dict(num_beams=2, repetition_penalty=1.2, no_repeat_ngram_size=2, min_new_tokens=4, eos_token_id=ENDS),
}


def make_processors(path: Path) -> None:
    torch.manual_seed(11)
    scores = torch.randn(6, 200) * 3
    scores[1] = (scores[1] * 2).round() / 2  # ties
    scores[2] = 0.25  # nothing but ties
    scores[3, 5:] = -float("inf")
    scores[4] *= 0.01  # nearly flat
    ids = torch.randint(1, 200, (6, 24))
    ids[:, 12:16] = ids[:, 2:6]  # repeated n-grams
    ids[:, 22:24] = ids[:, 2:4]
    steps = [
        ("repetition", processors.RepetitionPenaltyLogitsProcessor(1.3)),
        ("reward", processors.RepetitionPenaltyLogitsProcessor(0.7)),
        ("unigram", processors.NoRepeatNGramLogitsProcessor(1)),
        ("bigram", processors.NoRepeatNGramLogitsProcessor(2)),
        ("trigram", processors.NoRepeatNGramLogitsProcessor(3)),
        ("long", processors.NoRepeatNGramLogitsProcessor(25)),
        ("min_length", processors.MinLengthLogitsProcessor(25, [3, 17])),
        ("temperature", processors.TemperatureLogitsWarper(0.7)),
        ("hot", processors.TemperatureLogitsWarper(3.0)),
        ("top_k", processors.TopKLogitsWarper(10)),
        ("top_k_all", processors.TopKLogitsWarper(1000)),
        ("top_p", processors.TopPLogitsWarper(0.9)),
        ("top_p_small", processors.TopPLogitsWarper(0.05)),
        ("top_p_none", processors.TopPLogitsWarper(0.0)),
        ("min_p", processors.MinPLogitsWarper(0.05)),
        ("min_p_all", processors.MinPLogitsWarper(1.0)),
    ]
    tensors = {"ids": ids, "scores": scores}
    for name, processor in steps:
        tensors[f"alone.{name}"] = processor(ids, scores.clone()).contiguous()
    chain = ["repetition", "trigram", "min_length", "temperature", "top_k", "top_p", "min_p"]
    current = scores.clone()
    for name in chain:
        current = dict(steps)[name](ids, current)
        tensors[f"chain.{name}"] = current.clone().contiguous()
    save_file(tensors, path)


def decode(model, prompts: list[list[int]], settings: dict) -> tuple[list[list[int]], list[float]]:
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    ends = settings.get("eos_token_id", 0)
    ends = ends if isinstance(ends, list) else [ends]
    kwargs = dict(do_sample=False, max_new_tokens=NEW_TOKENS, pad_token_id=0, eos_token_id=ends) | settings
    out = model.generate(
        ids, attention_mask=mask, return_dict_in_generate=True, output_scores=True, output_logits=True, **kwargs
    )
    texts = []
    for row in out.sequences[:, longest:].tolist():
        end = next((i for i, token in enumerate(row) if token in ends), len(row) - 1)
        texts.append(row[: end + 1])
    if "num_beams" in settings:
        return texts, [round(score, 5) for score in out.sequences_scores.tolist()]
    for step, scores in enumerate(out.scores):  # a tie would make the comparison a matter of luck
        alive = torch.tensor([len(text) > step for text in texts])
        best = scores[alive].topk(2).values
        assert best.numel() == 0 or (best[:, 0] - best[:, 1]).min() > 1e-5, "a near tie: take another seed"
    return texts, []


def main() -> None:
    models, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    make_processors(out / "processors.safetensors")
    generator = torch.Generator().manual_seed(5)
    allowed = torch.tensor([token for token in range(61) if token not in ENDS])
    prompts = [allowed[torch.randint(len(allowed), (1 + i % 12,), generator=generator)].tolist() for i in range(PROMPTS)]
    families = {}
    for family in FAMILIES:
        model = AutoModelForCausalLM.from_pretrained(models / family, dtype=torch.float32).eval()
        families[family] = {}
        for name, settings in CASES.items():
            texts, scores = decode(model, prompts, settings)
            families[family][name] = {"texts": texts} | ({"scores": scores} if scores else {})
    content = {"new_tokens": NEW_TOKENS, "prompts": prompts, "cases": CASES, "families": families}
    (out / "generation.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
