# A trained teacher and student with a vocabulary of 8,192, for the scripts that compare payloads. Sourced.
#
# Teacher: 4 layers x 256, 300 steps of 16 x 128 tokens. Student: 2 layers x 128, distilled from it for 300 steps. Tokenizer:
# SentencePiece BPE with 8,192 ids, trained on the text. The models are kept in $work (second argument, or build/bench/payloads), and what
# is there of another text is refused.
set -euo pipefail
if [ $# -lt 1 ] || [ ! -f "$1" ]; then
  echo "usage: $0 TEXT [FOLDER]   TEXT: a file of about a megabyte or more; FOLDER: where models are kept (build/bench/payloads)" >&2
  exit 2
fi
text="$(realpath "$1")"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work="${2:-build/bench/payloads}"
temper=build/release/temper
mkdir -p "$work"
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi

# made_of FOLDER WHAT: notes beside a new FOLDER what its results are made of; those that are there must be of the same.
made_of() {
  local note="$1.made-of"
  if [ ! -e "$1" ]; then echo "$2" >"$note"; fi
  [ "$(cat "$note" 2>/dev/null)" = "$2" ] || {
    echo "$0: $1 was made of $(cat "$note" 2>/dev/null || echo "what it does not say"), not of $2:" \
      "give another FOLDER, or remove $1" >&2
    exit 2
  }
}
the_text="a text with the checksum $(sha256sum "$text" | cut -c 1-16)"
# Models from before there were notes: their configuration names the text.
if [ ! -e "$work/base.made-of" ] && grep -qsxF "text = $text" "$work/base/config.ini"; then
  echo "$the_text" >"$work/base.made-of"
fi
made_of "$work/base" "$the_text"

student_shape="--student.layers 2 --student.width 128 --student.heads 4 --student.positions 128"
if [ ! -f "$work/base/summary.json" ]; then
  echo "[bench] training teacher and student into $work/base" >&2
  # shellcheck disable=SC2086
  "$temper" distill --run.dir "$work/base" --run.overwrite true --run.precision bf16 --data.source text --data.text "$text" \
    --data.tokenizer sentencepiece --data.vocab 8192 --teacher.layers 4 --teacher.width 256 --teacher.heads 4 --teacher.positions 128 \
    --teacher.train-steps 300 --teacher.train-lr 1e-3 $student_shape --train.steps 300 --train.batch 16 --train.seq 128 \
    --train.lr 3e-3 --train.log-every 50 >"$work/base.txt"
fi
teacher="$work/base/teacher"

# field JSON-FILE NAME: a number of a JSON file.
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }
