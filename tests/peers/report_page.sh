#!/usr/bin/env bash
# Opens pages of `temper report` in headless Chromium: at 1280 and 390 pixels' width, light and dark, and as paper. No error on the
# console, no request beside the page itself, nothing wider than the screen, no text over another or cut off, every figure and axis name
# there. Skips visibly where no Chromium is installed.
#   report_page.sh RUN/report.html COMPARISON.html    of runs as reports.sh makes them
set -euo pipefail
chromium="$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)"
if [ -z "$chromium" ]; then
  echo "[peers] SKIPPED: pages of temper report (no chromium, chromium-browser or google-chrome; on Debian: apt-get install chromium)"
  exit 0
fi
here="$(dirname "${BASH_SOURCE[0]}")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

open() { # ARGUMENTS... ADDRESS: standard error has the console
  timeout 120 "$chromium" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --allow-file-access-from-files --enable-logging=stderr \
    --user-data-dir="$work/profile" "$@"
}

check() { # PAGE WIDTH SCHEME: the page in a frame of that width, since a window of headless Chromium is at least 500 pixels wide
  local page="$1" width="$2" scheme="$3" number=1
  [ "$scheme" = dark ] && number=0
  { cat "$page"; echo "<script>"; cat "$here/report_page.js"; echo "</script>"; } >"$work/page.html"
  cat >"$work/frame.html" <<HTML
<!DOCTYPE html><html><head><meta charset="utf-8"><title>nothing was measured</title><link rel="icon" href="data:,"></head>
<body style="margin:0"><iframe src="page.html" style="border:0;width:${width}px;height:900px"></iframe>
<script>addEventListener("message", (event) => { document.title = event.data; });</script></body></html>
HTML
  open --blink-settings=preferredColorScheme=$number --window-size=1300,900 --virtual-time-budget=5000 --dump-dom \
    "file://$work/frame.html" >"$work/dom" 2>"$work/console" || { cat "$work/console"; exit 1; }
  if grep -E 'CONSOLE' "$work/console"; then echo "[peers] $page: the console is not silent"; exit 1; fi
  local title
  title="$(grep -o '<title>[^<]*' "$work/dom" | head -1 | cut -c8-)"
  [ "$title" = "fine, $scheme, $width" ] || { echo "[peers] $page at $width pixels, $scheme: $title"; exit 1; }
}

figures() { # PAGE TITLE...
  local page="$1" title
  open --dump-dom "file://$(realpath "$page")" >"$work/dom" 2>"$work/console"
  if grep -E 'CONSOLE' "$work/console"; then echo "[peers] $page: the console is not silent"; exit 1; fi
  shift
  for title in "$@"; do
    grep -q "<svg[^>]* aria-label=\"$title\"" "$work/dom" || { echo "[peers] $page: the figure '$title' is missing"; exit 1; }
  done
}

own=("teacher" "student, distilled" "student, hard labels" "Confidence: teacher" "Confidence: student, distilled" "NLL over the temperature"
  "Distillation: the loss and its parts" "Cross-entropy on the training text" "The same, second half, smoothed" "The teacher's training"
  "Learning rate" "Norm of the gradient, before clipping" "Speed" "Waiting" "Soft targets on the wire")
figures "$1" "${own[@]}"
figures "$2" "${own[@]}" "model" "Confidence: model" "Loss" "KL to the teacher"
for page in "$1" "$2"; do
  for width in 1280 390; do
    for scheme in light dark; do check "$page" $width $scheme; done
  done
  rm -f "$work/page.pdf"
  open --print-to-pdf="$work/page.pdf" "file://$(realpath "$page")" >/dev/null 2>"$work/console" || { cat "$work/console"; exit 1; }
  [ -s "$work/page.pdf" ] || { echo "[peers] $page: no PDF of it"; exit 1; }
done
echo "[peers] pages of temper report, in $("$chromium" --version 2>/dev/null | head -1): no faults"
