"""Ids of `temper tokenize` against Hugging Face's `tokenizers` and Google's `sentencepiece`, byte for byte.

    compare_tokenizers.py TEMPER TEXT FOLDER     FOLDER: of make_tokenizers.py --text TEXT

The texts: TEXT as a file and in paragraphs, the hard cases, random strings, and every code point between letters, digits,
punctuation and white space, where an error in a Unicode property would move the end of a word. For these the merges are
made so that each such end shows in the ids.
"""

import json
import pathlib
import random
import subprocess
import sys
import unicodedata

import numpy
import sentencepiece
from tokenizers import Tokenizer

from make_tokenizers import KINDS, hard_cases

TEMPER, TEXT, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
ALLOW_TIES = "--allow-ties" in sys.argv[4:]


def temper_ids(path, tokenizer, *options):
    """The ids of each document of a file."""
    out = FOLDER / "out"
    for ending in (".bin", ".idx"):
        out.with_suffix(ending).unlink(missing_ok=True)  # temper writes over no file
    command = [TEMPER, "tokenize", "--tokenize.input", path, "--tokenize.output", out, "--tokenize.format", "megatron"]
    command += ["--tokenize.append-eod", "false", "--data.tokenizer", tokenizer, "--run.threads", "2", *options]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    index = out.with_suffix(".idx").read_bytes()
    documents = int.from_bytes(index[18:26], "little")
    lengths = numpy.frombuffer(index, numpy.int32, documents, 34)
    ids = numpy.fromfile(out.with_suffix(".bin"), numpy.uint16 if index[17] == 8 else numpy.int32)
    return [part.tolist() for part in numpy.split(ids, numpy.cumsum(lengths)[:-1])]


def compare(name, kind, documents, want, got):
    assert len(want) == len(got), f"{kind}, {name}: {len(want)} documents became {len(got)}"
    bad = [i for i in range(len(want)) if want[i] != got[i]]
    print(f"{kind:14} {name:12} {len(want):8} documents {sum(map(len, want)):9} tokens  {len(bad)} differ", flush=True)
    for i in bad[:3]:
        print(f"  {documents[i][:200]!a}\n    wanted {want[i][:60]}\n    got    {got[i][:60]}")
    return len(bad)


def as_jsonl(documents):
    path = FOLDER / "documents.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps({"text": document}, ensure_ascii=False) + "\n")
    return path


def edge_tokenizer(kind):
    """The same tokenizer with merges between ASCII and the first and last bytes of other characters only."""
    file = json.loads((FOLDER / kind / "tokenizer.json").read_text())
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    spelling = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    vocab = {spelling[byte]: byte for byte in range(256)}
    merges = []
    context = b"aA1. \n'"
    pairs = [(c, lead) for c in context for lead in [*range(0xC2, 0xF5), *context]]
    pairs += [(last, c) for last in range(0x80, 0xC0) for c in context]
    for left, right in pairs:
        merges.append([spelling[left], spelling[right]])
        vocab.setdefault(spelling[left] + spelling[right], len(vocab))
    file["model"].update(vocab=vocab, merges=merges, ignore_merges=False)
    file.update(added_tokens=[], post_processor=None)
    path = FOLDER / f"edge_{kind}" / "tokenizer.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(file))
    return path


def random_strings(count):
    source = random.Random(1)
    characters = [chr(point) for point in range(0x110000) if unicodedata.category(chr(point)) not in ("Cn", "Cs")]
    spaces = [c for c in characters if c.isspace()] + list("'  \n\r\t\u180e\u0085\u200b\ufeff")
    special = ["<mask>", "<tail>", "<both>", "word", "<|endoftext|>", "<tool>", "Tschü", "Tschu\u0308"]
    pools = [characters, spaces, spaces, "abcSTDMrevl'", "abcSTDMrevl'", "0123456789.,!?-_ſK\u0301\u0308\u0323가\u11a8", special]
    return ["".join(source.choice(source.choice(pools)) for _ in range(source.randint(1, 14))) for _ in range(count)]


def byte_level(text):
    bad = 0
    sets = {
        "paragraphs": [part for part in text.split("\n\n") if part],
        "hard cases": [case.decode("utf-8", errors="replace") for case in hard_cases() if case],
        "random": random_strings(20000),
    }
    paths = {}
    for name, documents in sets.items():
        paths[name] = as_jsonl(documents).rename(FOLDER / f"{name}.jsonl")
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
    edges = [f"a{c}a A{c}A 1{c}1 .{c}. a {c} {c}\n{c}{c}a'{c}" for c in points]
    edge_path = as_jsonl(edges).rename(FOLDER / "edges.jsonl")
    # "word" is an added token of the kind flags that counts only where no word goes on beside it.
    words = [f"{c}word word{c}" for c in points]
    word_path = as_jsonl(words).rename(FOLDER / "words.jsonl")
    for kind in KINDS:
        path = FOLDER / kind / "tokenizer.json"
        reference = Tokenizer.from_file(str(path))
        for name, documents in sets.items():
            want = [each.ids for each in reference.encode_batch(documents, add_special_tokens=False)]
            bad += compare(name, kind, documents, want, temper_ids(paths[name], path))
        want = [reference.encode(text, add_special_tokens=False).ids]
        bad += compare("whole file", kind, [text], want, temper_ids(TEXT, path))
        if kind == "flags":
            want = [each.ids for each in reference.encode_batch_fast(words, add_special_tokens=False)]
            bad += compare("word ends", kind, words, want, temper_ids(word_path, path))
        path = edge_tokenizer(kind)
        reference = Tokenizer.from_file(str(path))
        want = [each.ids for each in reference.encode_batch_fast(edges, add_special_tokens=False)]
        bad += compare("code points", kind, edges, want, temper_ids(edge_path, path))
    return bad


def without_ties(reference, want, got):
    """`got`, with the wanted ids where both spell the same text with pieces of the same total score: a unigram model does not say which
    of the two is right, and releases of SentencePiece differ in it."""
    if not ALLOW_TIES:
        return got
    result, ties = [], 0
    for wanted, ours in zip(want, got, strict=True):
        if wanted != ours:
            ours = [int(each) for each in ours]
            scores = [sum(map(reference.get_score, ids)) for ids in (wanted, ours)]
            if abs(scores[0] - scores[1]) <= 1e-6 * abs(scores[0]) and reference.decode(wanted) == reference.decode(ours):
                ours, ties = wanted, ties + 1
        result.append(ours)
    if ties:
        print(f"  {ties} documents have two segmentations of the same score")
    return result


def sentence_piece(text):
    """Models as Llama 2 and Mistral have them (a space before the text), and without that space."""
    bad = 0
    for kind, prefix in (("bpe", True), ("bpe", False), ("unigram", True)):
        name = f"{kind}, space {'yes' if prefix else 'no'}"
        path = FOLDER / "sentencepiece.model"
        with path.open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(text.split("\n")), model_writer=file, vocab_size=1000, model_type=kind,
                byte_fallback=True, add_dummy_prefix=prefix, normalization_rule_name="identity", split_digits=True,
                remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, minloglevel=2,
            )
        reference = sentencepiece.SentencePieceProcessor(model_file=str(path))
        for what in ("paragraphs", "hard cases", "random"):
            documents = [json.loads(line)["text"] for line in (FOLDER / f"{what}.jsonl").open()]
            want = reference.encode(documents)
            got = without_ties(reference, want, temper_ids(FOLDER / f"{what}.jsonl", path))
            bad += compare(what, name, documents, want, got)
        # Larger than the portions that temper cuts a file into.
        large = FOLDER / "large.txt"
        large.write_text(text * 3, encoding="utf-8")
        want = [reference.encode(text * 3)]
        bad += compare("whole file", name, [text], want, without_ties(reference, want, temper_ids(large, path)))
    return bad


def main():
    text = TEXT.read_text(encoding="utf-8")
    bad = byte_level(text) + sentence_piece(text)
    assert bad == 0, f"{bad} documents differ"


if __name__ == "__main__":
    main()
