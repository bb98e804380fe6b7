"""Makes small SentencePiece folders whose files add tokens, and the ids and texts that `transformers` gives.

    make_added_pieces.py FOLDER     what is kept in tests/data/golden_pieces

Writes KIND/tokenizer.model with the JSON files of that kind, and cases.json: for each kind its vocabulary, bos and eos, and a list of
{"text", "ids", "decoded", "decoded_all"} (decoded: special tokens left out). Texts that begin with a space are left out: transformers puts
none before them, SentencePiece does, and temper follows SentencePiece.

Needs transformers, sentencepiece and protobuf; PyTorch is not needed.
"""

import io
import json
import os
import pathlib
import random
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import sentencepiece
from transformers import LlamaTokenizer

PIECES = 360


def training_lines():
    words = random.Random(11)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    vocabulary = ["".join(words.choice(letters[: words.randint(4, 26)]) for _ in range(words.randint(2, 7))) for _ in range(80)]
    lines = [" ".join(words.choice(vocabulary) for _ in range(12)) + "." for _ in range(100)]
    return lines + ["You are a helpful assistant.", "The user asks, the system answers: hello, world!"] * 30


def model(prefix=True):
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_lines()), model_writer=file, vocab_size=PIECES, model_type="bpe", byte_fallback=True,
        add_dummy_prefix=prefix, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, num_threads=1, minloglevel=2,
    )  # fmt: skip
    return file.getvalue()


def token(content, special=True, **flags):
    plain = {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": special}
    return {**plain, **flags}


def alone(prefix):
    return {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": False,
        "add_eos_token": False,
        "add_prefix_space": prefix,
        "legacy": False,
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
    }


OWN = {"0": token("<unk>"), "1": token("<s>"), "2": token("</s>")}


def ids(*tokens):
    return {str(PIECES + i): each for i, each in enumerate(tokens)}


# The files of each kind of folder.
KINDS = {
    # As transformers 4 saved them: ids alone. None of these is special, since no file calls it so.
    "added": {"added_tokens.json": {"<|im_end|>": PIECES + 1, "<|im_start|>": PIECES, "<|im|>": PIECES + 2, "[PAD]": PIECES + 3}},
    # All flags; `legacy`: a space after every token; the end of a text is an added token.
    "decoder": {
        "tokenizer_config.json": {
            "add_bos_token": True,
            "add_eos_token": False,
            "added_tokens_decoder": OWN
            | ids(
                token("<|im_start|>"),
                token("<|im_end|>"),
                token("<|assistant|>", rstrip=True),
                token("<mask>", lstrip=True),
                token("<both>", lstrip=True, rstrip=True, normalized=True, special=False),
                token("word", special=False, single_word=True, normalized=True),
                token("<tool>", special=False),
                token("<tool>\n", special=False),
                token("größe", special=False, normalized=True),
            ),
            "bos_token": "<s>",
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "legacy": True,
            "tokenizer_class": "LlamaTokenizer",
            "unk_token": "<unk>",
        },
        # Not heeded where tokenizer_config.json has the ids.
        "added_tokens.json": {"<stale>": PIECES},
        "special_tokens_map.json": {"eos_token": "</s>"},
    },
    # Named, with ids for some: the others follow, in the order of their roles and of the list. transformers 5 does not heed the
    # additional_special_tokens of special_tokens_map.json.
    "named": {
        "added_tokens.json": {"<|end|>": PIECES, "<|user|>": PIECES + 1},
        "special_tokens_map.json": {
            "additional_special_tokens": ["<|nothing|>", "<|user|>"],
            "bos_token": "<s>",
            "eos_token": {"content": "<|end|>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False},
            "pad_token": "<|pad|>",
        },
        "tokenizer_config.json": {
            "additional_special_tokens": ["<|system|>", "</s>", "<|tool|>"],
            "bos_token": "<s>",
            "eos_token": "</s>",
            "image_token": "<image>",
            "tokenizer_class": "LlamaTokenizer",
        },
    },
    # Llama 2's own files, and a token to pad with.
    "llama": {
        "added_tokens.json": {"<pad>": PIECES},
        "special_tokens_map.json": {
            "bos_token": {"content": "<s>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False},
            "eos_token": {"content": "</s>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False},
            "pad_token": "<pad>",
            "unk_token": {"content": "<unk>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False},
        },
        "tokenizer_config.json": {
            "add_bos_token": True,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "legacy": False,
            "tokenizer_class": "LlamaTokenizer",
        },
    },
    # No space before a text, though the model would put one; special tokens that are spelt out are text.
    "bare": {
        "tokenizer_config.json": {
            "add_prefix_space": False,
            "added_tokens_decoder": OWN | ids(token("<|im_end|>"), token("<tool>", special=False)),
            "eos_token": "<|im_end|>",
            "split_special_tokens": True,
            "tokenizer_class": "LlamaTokenizer",
        }
    },
    # What temper writes beside a .model that comes alone, with a space before a text and without.
    "spaced": {"tokenizer_config.json": alone(prefix=True)},
    "unspaced": {"tokenizer_config.json": alone(prefix=False)},
}


def texts():
    return [
        "hello, world!",
        "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\nYou are  helpful.<|im_end|>",
        "<s>hello</s> world <unk> <|im_end|><|im_end|>\n\n",
        "a<|im_end|> b  <|im_end|>  c <|im|> <|im_en <|im_<|im_start|>d",
        "<|assistant|> \n the answer<|assistant|>x <|assistant|>",
        "a  <mask>  b \n<mask><mask> <both>  c  <both><mask> \t d",
        "word words sword a word, (word) word_ word1 wordé <tool>word<tool> word",
        "<tool>\nx<tool> \n<tool>\n\n<tool>",
        "größe Größe größer",
        "<|user|>who?<|end|><|system|>me <|nothing|><|tool|> <|pad|><pad> [PAD]<image>",
        "東京 😀<|im_end|>é\t<|user|>\u00a0nbsp ▁low<|im_end|>▁low <s>",
        "<|im_end|>",
        "x <|im_end|> ",
        "the the  the\n the<s> the<pad>the <pad> the",
        "<|im_start|><|im_end|><s></s>",
        "<stale> <0x41> 1234",
    ]


def main():
    folder = pathlib.Path(sys.argv[1])
    cases = {}
    for kind, files in KINDS.items():
        path = folder / kind
        path.mkdir(parents=True, exist_ok=True)
        (path / "tokenizer.model").write_bytes(model(prefix=kind != "unspaced"))
        for name, content in files.items():
            (path / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        tokenizer = LlamaTokenizer.from_pretrained(path)
        rows = []
        for text in texts():
            encoded = tokenizer.encode(text, add_special_tokens=False)
            row = {"text": text, "ids": encoded, "decoded": tokenizer.decode(encoded, skip_special_tokens=True)}
            rows.append(row | {"decoded_all": tokenizer.decode(encoded)})
        cases[kind] = {"vocab": len(tokenizer), "bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "cases": rows}
    kinds = []
    for kind, case in cases.items():
        rows = ",\n".join("  " + json.dumps(row) for row in case.pop("cases"))
        kinds.append(f'"{kind}": {json.dumps(case)[:-1]}, "cases": [\n{rows}\n ]}}')
    (folder / "cases.json").write_text("{" + ",\n".join(kinds) + "}\n")


if __name__ == "__main__":
    main()
