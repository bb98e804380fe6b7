"""`temper tokenize` against `tokenizers`' encode_batch on two threads each, in turn: tokenizer_speed.py TEMPER TEXT [ROUNDS]

TEXT is repeated to 50 MB and split at empty lines into documents; GPT-2's pre-tokenizer, 4,096 tokens trained on the spot. Both sides read
the same JSONL file and give ids in memory or on the disk; temper's time is that of the whole program."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "2"
os.environ["TOKENIZERS_PARALLELISM"] = "true"

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402  (the number of threads is read at import)

BYTES = 50_000_000


def main() -> None:
    temper, text = sys.argv[1], Path(sys.argv[2]).read_text()
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        tokenizer.train_from_iterator([text], trainers.BpeTrainer(vocab_size=4096, initial_alphabet=alphabet, show_progress=False))
        tokenizer.save(str(folder / "tokenizer.json"))
        documents = [document for document in text.split("\n\n") if document]
        documents *= 1 + BYTES // sum(len(document) for document in documents)
        with open(folder / "text.jsonl", "w") as file:
            file.writelines(json.dumps({"text": document}) + "\n" for document in documents)
        arguments = [temper, "tokenize", "--tokenize.input", str(folder / "text.jsonl"), "--tokenize.output", str(folder / "ids.npy")]
        arguments += ["--data.tokenizer", str(folder / "tokenizer.json"), "--run.threads", "2"]
        ratios = []
        for number in range(rounds):
            start = time.perf_counter()
            subprocess.run(arguments, check=True, capture_output=True)
            ours = time.perf_counter() - start
            (folder / "ids.npy").unlink()
            start = time.perf_counter()
            with open(folder / "text.jsonl") as file:
                texts = [json.loads(line)["text"] for line in file]
            tokenizer.encode_batch(texts)
            theirs = time.perf_counter() - start
            ratios.append(theirs / ours)
            print(f"temper {BYTES / ours / 1e6:6.1f} MB/s, tokenizers {BYTES / theirs / 1e6:6.1f} MB/s, ratio {theirs / ours:.2f}", flush=True)
        print(f"median ratio {sorted(ratios)[len(ratios) // 2]:.2f}")


if __name__ == "__main__":
    main()
