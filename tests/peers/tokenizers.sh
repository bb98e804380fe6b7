#!/usr/bin/env bash
# Ids of `temper tokenize` against Hugging Face's `tokenizers` and `sentencepiece`, after the golden files made anew. run.sh calls it.
#   tokenizers.sh PYTHON    a Python with these packages (installed where they are missing)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python="$1"
"$python" -c 'import tokenizers, sentencepiece, numpy, transformers, google.protobuf' 2>/dev/null ||
  "$python" -m pip install --quiet tokenizers==0.23.3 sentencepiece==0.2.3 numpy==2.4.6 transformers==5.23.0 protobuf==7.36.2
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

echo "[peers] golden tokenizers, made anew, against those in tests/data/golden"
"$python" tests/peers/make_tokenizers.py "$work/golden"
diff -r "$work/golden" tests/data/golden
echo "[peers] SentencePiece with added tokens, made anew, against that in tests/data/golden_pieces"
"$python" tests/peers/make_added_pieces.py "$work/golden_pieces"
diff -r "$work/golden_pieces" tests/data/golden_pieces

text=../shared/data/tinyshakespeare.txt
ties=()
if [ ! -f "$text" ]; then
  echo "[peers] no $text: a text made of this repository's sources takes its place"
  text="$work/text.txt"
  ties=(--allow-ties)  # of a unigram model, plenty in sources: see without_ties()
  cat README.md data/*.cpp launch/*.cpp model/*.cpp >"$text"
fi
echo "[peers] ids of temper tokenize against tokenizers and sentencepiece"
"$python" tests/peers/make_tokenizers.py "$work" --text "$text" --vocab 4096
"$python" tests/peers/compare_tokenizers.py build/release/temper "$text" "$work" "${ties[@]}"
