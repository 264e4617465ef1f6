#!/usr/bin/env bash
# dist.sh: build/intarsia-VERSION.tar.gz, the sources of the last commit. The
# same commit gives the same bytes; this is checked.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^project(intarsia VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
name=intarsia-$version
mkdir -p build
# Entries get the commit's time and no owner of this machine; gzip none at all.
pack() {
  git archive --format=tar --prefix="$name/" HEAD | gzip -9 -n >"$1"
}
pack "build/$name.tar.gz"
pack "build/$name.again"
cmp "build/$name.tar.gz" "build/$name.again"
rm "build/$name.again"
if ! git diff --quiet HEAD --; then
  echo "warning: changes that are not committed are not in it" >&2
fi
echo "build/$name.tar.gz"
sha256sum "build/$name.tar.gz" | cut -d' ' -f1
