#!/usr/bin/env bash
# How fast is temper beside PyTorch? tests/bench/against_pytorch.sh [CASE...]     (all cases)
#
# Both programs do the same steps at the same shapes, in turn, round after round, so that a change of the machine's speed hits all alike.
# PyTorch's side is pytorch_step.py: eager and torch.compile, fp32 and bf16. Llama shape, tied heads, random weights and ids, AdamW,
# gradient clipped at 1; loss 0.9 · T² · KL + 0.1 · cross-entropy at T = 2. Two threads, but in `ranks`.
#   check   not a speed: with the same weights and tokens, do three steps give the same losses and gradient norms? fp32 and bf16
#   step    one step of distillation: teacher 8 layers x 512, student 4 x 256, 4 rows of 256 tokens, vocabulary 50,257
#   vocab   the same at vocabulary 8,192 and 151,936 (the peers that matter: bf16)
#   seq     the same with one row of 1,024 tokens
#   head    output head and loss alone: 512 tokens x 768 x 50,304, given hidden states, head and the teacher's logits in bf16; forward, and
#           gradients of hidden states and head (temper's of the head is fp32, the peers' bf16). TRL's and Liger-Kernel's losses as well
#   train   plain training of GPT-2 124M, 4 rows of 64 tokens, bf16
#   ranks   the step on one core, and on two ranks of one core each, against DistributedDataParallel over gloo
# "the limit" is the time of the step's matrix products alone, measured in the same rounds: bf16, as nn.Linear makes them, two threads, the head
# in chunks of 256 tokens. Attention is not in it. Memory is the largest resident set of the process, libraries included. Where
# temper has several rows, the fastest in bf16 counts. Targets stand beside each figure; a missed one makes the exit code 1.
#
#   TEMPER=FILE   the program (build/release/temper)     HEAD=FILE   (build/release/tests/bench/head_loss_bench)
#   PRECISIONS="bf16 fp32"   of the case step (bf16)
#   ROUNDS=N (5)   STEPS=N measured in a run (10)   SKIP=N steps before them (3)   COMPILE=default|max-autotune   KEEP=DIR for all figures
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/peers/python.sh
temper="${TEMPER:-$PWD/build/release/temper}" head_bench="${HEAD:-$PWD/build/release/tests/bench/head_loss_bench}"
rounds="${ROUNDS:-5}" steps="${STEPS:-10}" skip="${SKIP:-3}" mode="${COMPILE:-default}"
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
known=(check step vocab seq head train ranks)
cases=("$@")
if [ $# -eq 0 ]; then cases=("${known[@]}"); fi
for case in "${cases[@]}"; do
  [[ " ${known[*]} " == *" $case "* ]] || { echo "against_pytorch.sh: no case '$case': give some of ${known[*]}" >&2; exit 2; }
done
if [[ " ${cases[*]} " == *" head "* ]] && [ ! -x "$head_bench" ]; then
  echo "against_pytorch.sh: $head_bench is not there: cmake --build --preset release --target head_loss_bench" >&2
  exit 2
fi
peers_python
header="$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"
if [ ! -f "$header" ]; then
  echo "against_pytorch.sh: torch.compile needs a C++ compiler and $header: apt-get install g++ python3-dev" >&2
  exit 2
fi
scratch="$(mktemp -d)"
trap 'jobs -p | xargs -r kill 2>/dev/null; rm -rf "$scratch"' EXIT
results="${KEEP:-$scratch/results}"
export TORCHINDUCTOR_CACHE_DIR="$scratch/inductor"  # the first round compiles, the others find it done

run() { "$@" 2>"$scratch/log" || { cat "$scratch/log" >&2; exit 1; }; }
peer() {  # NAME OPTION...: of pytorch_step.py
  run "${peer_python:-$python}" tests/bench/pytorch_step.py "${@:2}" --steps "$steps" --skip "$skip" >"$out/$1.json"
}
peers_of() {  # "PRECISION..." OPTION...: eager and compiled
  for precision in $1; do
    peer "eager-$precision" step --precision "$precision" "${@:2}"
    peer "compile-$precision" step --precision "$precision" --compile "$mode" "${@:2}"
  done
}
shapes=(--teacher.layers 8 --teacher.width 512 --teacher.heads 8 --student.layers 4 --student.width 256 --student.heads 4)
ours_as() {  # NAME LAUNCHER... -- OPTION...: of temper
  local name="$1" launcher=()
  shift
  while [ "$1" != -- ]; do launcher+=("$1"); shift; done
  shift
  run ${launcher[@]+"${launcher[@]}"} python3 tests/bench/against_pytorch.py peak "$scratch/peak" "$temper" "$@" --run.dir "$scratch/run" \
    --run.overwrite true --data.source tokens --train.steps "${all_steps:-$((skip + steps))}" --evaluate.max-tokens 1 >"$scratch/out"
  run python3 tests/bench/against_pytorch.py summary "$scratch/run" "$scratch/peak" "$skip" >"$out/$name.json"
  rm -rf "$scratch/run" "$scratch"/peak*
}
ours() { ours_as "$1" -- "${@:2}"; }
tokens_of() {  # VOCAB BATCH SEQ: temper's options for random ids
  local file="$scratch/tokens-$1-$2-$3.npy"
  [ -f "$file" ] || run "$python" tests/bench/pytorch_step.py tokens --vocab "$1" --batch "$2" --seq "$3" "$file" >/dev/null
  data=(--data.tokens "$file" --data.vocab "$1" --train.batch "$2" --train.seq "$3")
}

distillation() {  # VOCAB BATCH SEQ "PRECISION...": one round
  local size=(--vocab "$1" --batch "$2" --seq "$3")
  tokens_of "$1" "$2" "$3"
  peer limit limit "${size[@]}"
  for precision in $4; do
    for payload in hidden full; do
      ours "temper-$precision-$payload" distill "${data[@]}" "${shapes[@]}" --run.threads 2 --run.precision "$precision" --teacher.payload "$payload"
    done
    peers_of "$precision" "${size[@]}"
  done
}
round_step() { distillation 50257 4 256 "${PRECISIONS:-bf16}"; }
round_vocab-8192() { distillation 8192 4 256 bf16; }
round_vocab-151936() { distillation 151936 4 256 bf16; }
round_seq() { distillation 50257 1 1024 bf16; }

round_head() {
  local shape=(--tokens 512 --width 768 --vocab 50304)
  run "$head_bench" "${shape[@]}" --dtype bf16 --threads 2 --repeat "$((skip + steps))" --json >"$out/temper-bf16.json"
  peer eager-fp32 head "${shape[@]}"
  peer eager-bf16 head "${shape[@]}" --precision bf16
  peer compile-bf16 head "${shape[@]}" --precision bf16 --compile "$mode"
  local peer_python="$losses_python"
  peer trl-bf16 head "${shape[@]}" --precision bf16 --loss trl
  peer liger-bf16 head "${shape[@]}" --precision bf16 --loss liger --compile "$mode"
}

round_train() {
  local size=(--vocab 50257 --batch 4 --seq 64 --family gpt2 --teacher none --student 12x768x12)
  tokens_of 50257 4 64
  peer limit limit "${size[@]}"
  ours temper-bf16 train "${data[@]}" --model.family gpt2 --model.layers 12 --model.width 768 --model.heads 12 --run.threads 2 --run.precision bf16
  peers_of bf16 "${size[@]}"
}

round_ranks() {
  local size=(--vocab 50257 --batch 4 --seq 256 --threads 1 --precision bf16)
  tokens_of 50257 4 256
  for ranks in 1 2; do
    ours_as "temper-bf16-$ranks" mpirun -n "$ranks" --map-by core --bind-to core -- distill "${data[@]}" "${shapes[@]}" --launch.teachers 0 \
      --run.threads 1 --run.precision bf16 --teacher.payload hidden
    for kind in eager compile; do
      local more=() others=()
      if [ "$kind" = compile ]; then more=(--compile "$mode"); fi
      rm -f "$scratch/meet"
      for rank in $(seq 1 "$((ranks - 1))"); do
        taskset -c "$rank" "$python" tests/bench/pytorch_step.py step "${size[@]}" ${more[@]+"${more[@]}"} --steps "$steps" --skip "$skip" \
          --ranks "$ranks" --rank "$rank" --meet "$scratch/meet" >/dev/null 2>"$scratch/log-$rank" &
        others+=("$!")
      done
      run taskset -c 0 "$python" tests/bench/pytorch_step.py step "${size[@]}" ${more[@]+"${more[@]}"} --steps "$steps" --skip "$skip" \
        --ranks "$ranks" --meet "$scratch/meet" >"$out/$kind-bf16-$ranks.json"
      for each in ${others[@]+"${others[@]}"}; do wait "$each" || { cat "$scratch"/log-* >&2; exit 1; }; done
    done
  done
}

round_check() {
  local share steps=3 skip=0 all_steps=3
  share="$(run "$python" tests/bench/pytorch_step.py folders "$scratch/check" | python3 -c 'import json, sys; print(json.load(sys.stdin)["share"])')"
  for precision in fp32 bf16; do
    peer "eager-$precision" step --folder "$scratch/check" --precision "$precision"
    for payload in hidden full; do
      ours "temper-$precision-$payload" distill --teacher.path "$scratch/check/teacher" --student.path "$scratch/check/student" \
        --data.tokens "$scratch/check/row.npy" --data.vocab 50257 --data.fit-share "$share" --data.test-share "$share" --train.batch 4 \
        --train.seq 256 --train.warmup 0 --train.min-lr-share 1 --run.threads 2 --run.precision "$precision" --teacher.payload "$payload"
    done
  done
}

measure() {  # TABLE
  local round last="$rounds"
  if [ "$1" = check ]; then last=1; fi
  if [ "$1" = head ]; then
    peers_losses_python
    "$losses_python" tests/bench/pytorch_step.py head --tokens 16 --vocab 512 --width 64 --precision bf16 --loss liger-triton >/dev/null 2>"$scratch/log" ||
      echo "Liger-Kernel's fused loss in Triton does not run on a CPU ($(tail -n 1 "$scratch/log" | cut -c 1-60)); its loss in PyTorch does, in chunks"
  fi
  for round in $(seq "$last"); do
    echo "$1: round $round of $last" >&2
    out="$results/$1/$round"
    mkdir -p "$out"
    "round_$1"
  done
  python3 tests/bench/against_pytorch.py table "$1" "$results/$1" || missed=1
}

missed=0
for case in "${cases[@]}"; do
  if [ "$case" = vocab ]; then
    measure vocab-8192
    measure vocab-151936
  else
    measure "$case"
  fi
done
exit "$missed"
