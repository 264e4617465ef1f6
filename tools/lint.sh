#!/usr/bin/env bash
# Formatting, file lengths, and the arrows between folders.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0

python3 tools/check_arrows.py || failed=1

long=$(git ls-files '*.cc' '*.h' '*.cu' '*.cuh' '*.py' |
  xargs wc -l | awk '$1 > 600 && $2 != "total" {print "  " $2 ": " $1}')
if [[ -n $long ]]; then
  echo "files past 600 lines:" >&2
  echo "$long" >&2
  failed=1
fi

# One version, which Debian 12 and Ubuntu 24.04 both have: they disagree.
if command -v clang-format-14 >/dev/null; then
  git ls-files '*.cc' '*.h' '*.cu' '*.cuh' |
    xargs clang-format-14 --dry-run --Werror || failed=1
else
  echo "clang-format-14 is not here (make test installs it)" >&2
  failed=1
fi
exit $failed
