"""Makes small tokenizer.json files of every kind that temper reads, and the ids that Hugging Face's `tokenizers` gives.

    make_tokenizers.py FOLDER                      what is kept in tests/data/golden
    make_tokenizers.py FOLDER --text FILE --vocab N    trained on a text of one's own (compare_tokenizers.py)

Writes KIND/tokenizer.json and, without --text, cases.json: a list of {"hex": bytes of a text, KIND: ids}.
"""

import argparse
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"""|\s*[\r\n]+|\s+(?!\S)|\s+"""
)


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_level(words=False, prefix=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=words)


# What each kind cuts words with, and its special tokens.
KINDS = {
    "gpt2": (byte_level(words=True), ["<|endoftext|>"]),
    "llama3": (
        pre_tokenizers.Sequence([split(LLAMA3), byte_level()]),
        ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"],
    ),
    "qwen2": (pre_tokenizers.Sequence([split(QWEN2), byte_level()]), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
    "flags": (
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(words=True, prefix=True)]),
        ["<s>", "</s>"],
    ),
    "gpt4o": (pre_tokenizers.Sequence([split(GPT4O, "removed", True), byte_level()]), ["<|endoftext|>"]),
    "deepseek": (
        pre_tokenizers.Sequence([split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK), byte_level()]),
        ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"],
    ),
}
GOLDEN = ["gpt2", "llama3", "qwen2", "flags"]


def make(kind, texts, vocab):
    cutter, special = KINDS[kind]
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    tokenizer.pre_tokenizer = cutter
    tokenizer.decoder = decoders.ByteLevel()
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=special,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if kind == "llama3":
        bos = special[0]
        template = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    if kind == "qwen2":
        # Found after the normalizer: the text may have the letter and its dots apart.
        tokenizer.add_tokens([AddedToken("Tschü", normalized=True), AddedToken("<tool>", normalized=False)])
    if kind == "flags":
        tokenizer.add_special_tokens(
            [
                AddedToken("<mask>", lstrip=True),
                AddedToken("<tail>", rstrip=True),
                AddedToken("<both>", lstrip=True, rstrip=True),
            ]
        )
        tokenizer.add_tokens([AddedToken("word", single_word=True, normalized=False), AddedToken("<mask><mask>")])
    return tokenizer


def training_texts():
    """Enough text for a few hundred merges, the same each time."""
    sentences = [
        "The keeper of the light watched the ships sail past, and wrote down 1, 22 and 333 of them.",
        "It's what they'd said: we'll see, I'm sure; you've been there, haven't you? They're not late.",
        "Zürich, Größe, naïve café, señor, Ångström; привет, мир! Ελληνικά. 東京は夜の七時。 你好，世界。",
        "def main():\n    for i in range(100):\n        print(i, '\\t', i * i)\n\n\nreturn 0;\r\n",
        "\tA tab, two  spaces,   three.    And\n\n\na few lines.\n",
    ]
    words = random.Random(7)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    vocabulary = [
        "".join(words.choice(letters[: words.randint(4, 26)]) for _ in range(words.randint(2, 9))) for _ in range(300)
    ]
    made = [" ".join(words.choice(vocabulary) for _ in range(12)) + "." for _ in range(300)]
    return sentences * 20 + made


def hard_cases():
    """Texts as bytes: some of them are no UTF-8."""
    texts = [
        "",
        " ",
        "a",
        "Hello, world! It's 2024; they'll see, I'M SURE, YOU'RE LATE, it'ſ.",
        "  two  spaces   three\t\ttabs \t mixed\n\n\nlines\r\n\r\nCRLF \r\n end  ",
        "trailing newline\n",
        "\n\n  \n indented\n\tcode(a, b);\r\n",
        "1234567890 3.14159 ½ ² Ⅷ ٣٤٥ 12a34",
        "emoji: 😀👩‍👩‍👧‍👦🏳️‍🌈🇨🇭👍🏽 ☃️ end",
        "combining: e\u0301 a\u0308\u0323 o\u0323\u0308 \u0301alone Tschu\u0308ss \u1112\u1161\u11ab 한국어 ﬁ Å \u212b q\u0307\u0323",
        "東京は夜の七時。 你好，世界！ ภาษาไทย हिन्दी العربية עברית",
        "spaces:\u00a0nbsp\u2003em\u3000ideographic\u200bzero\u180emongolian\u0085nel\u2028ls\ufeffbom\u000bvt\u000cff",
        "x" * 700,
        "ab" * 300 + "東" * 100 + "!?" * 150,
        "the " * 50 + " " * 130 + "end",
        "<|endoftext|>",
        "a<|endoftext|>b <|im_start|>user\nhi<|im_end|>\n<|begin_of_text|><|eot_id|> <|end_of_text|><tool>x",
        "<|endoftext", "<|endoftext|><|endoftext|>\n<|endoftext|> ",
        "a  <mask>  b <tail> \n c  <both>  <mask><mask> <both><tail> <mask><mask><mask>",
        "word words sword a word, (word) word_ word1 wordé éword\u0301 word",
        "Tschüss Tschu\u0308ss Tschu\u0308\u0323",
        "\U0001f1e6 \U000110ff \U00031350 \U0001fae8 \U0001e4d0 \u1c89a \U0010ffff \ue000 \ufffd \x00 \x7f \u0378",
        "don't DON'T don’t ’s 'S 'ſ 'ſt 'K'K re're",
    ]
    cases = [text.encode() for text in texts]
    # A lone surrogate, an overlong form, cut characters, Latin-1, bytes that UTF-8 never has.
    cases += [
        b"lone \xed\xa0\x80 surrogate \xed\xb0\x80",
        b"overlong \xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf",
        b"cut \xe6\x9d",
        b"cut \xf0\x9f\x98 caf\xe9 \xff\xfe \xf4\x90\x80\x80 \xf5\x80 \x80\xbf end",
    ]
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path)
    parser.add_argument("--vocab", type=int, default=600)
    arguments = parser.parse_args()
    texts = arguments.text.read_text(encoding="utf-8").split("\n\n") if arguments.text else training_texts()
    cases = [{"hex": case.hex()} for case in hard_cases()]
    for kind in KINDS if arguments.text else GOLDEN:
        tokenizer = make(kind, texts, arguments.vocab)
        (arguments.folder / kind).mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(arguments.folder / kind / "tokenizer.json"), pretty=False)
        for case in cases:
            text = bytes.fromhex(case["hex"]).decode("utf-8", errors="replace")
            case[kind] = tokenizer.encode(text, add_special_tokens=False).ids
    if not arguments.text:
        lines = ",\n".join(json.dumps(case) for case in cases)
        (arguments.folder / "cases.json").write_text(f'{{"cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
