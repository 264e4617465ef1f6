#!/usr/bin/env bash
# reproducible.sh: unpacks the source tarball in two folders, builds the program
# and the library in each, without a compiler cache, and compares the bytes.
# Arguments go to cmake.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/dist.sh
tarball=$(realpath build/intarsia-*.tar.gz)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH CCACHE_DISABLE=1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
built=()
for folder in "$root/a" "$root/another folder/further down"; do
  mkdir -p "$folder"
  tar -xzf "$tarball" -C "$folder" --strip-components=1
  (
    cd "$folder"
    cmake --preset release "$@" >/dev/null
    cmake --build --preset release --target intarsia libintarsia \
      packaging_files -- -j"${JOBS:-$(nproc)}"
  )
  built+=("$folder/build/release")
done
for file in intarsia "$(cd "${built[0]}" && ls libintarsia.so.*.*)" \
  packaging/intarsia.1.gz packaging/completion.bash; do
  cmp "${built[0]}/$file" "${built[1]}/$file"
  if grep -qF "$root" "${built[0]}/$file"; then
    echo "error: $file names the folder it was built in" >&2
    exit 1
  fi
  sha256sum "${built[0]}/$file" | sed "s|${built[0]}/||"
done
echo "two builds in two folders: the same bytes"
