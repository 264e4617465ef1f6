#!/usr/bin/env bash
# install_test.sh BUILD: installs a finished build into a folder of its own and
# uses it as a stranger would: the program, and examples/hello.c built by
# pkg-config and by find_package.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(realpath "$1")
source=$PWD
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
fail() { echo "error: $*" >&2; exit 1; }

DESTDIR=$root cmake --install "$build" >"$root/log" 2>&1 || {
  cat "$root/log"
  fail "cmake --install"
}
program=$(find "$root" -path '*/bin/intarsia' -type f)
prefix=$(dirname "$(dirname "$program")")
[[ -n $program ]] || fail "there is no bin/intarsia"
for file in include/intarsia/intarsia.h share/man/man1/intarsia.1.gz \
  share/bash-completion/completions/intarsia share/doc/intarsia/README.md \
  share/doc/intarsia/copyright; do
  [[ -s $prefix/$file ]] || fail "$file is missing"
done
"$program" list >/dev/null
bash -n "$prefix/share/bash-completion/completions/intarsia"
page=$(gzip -dc "$prefix/share/man/man1/intarsia.1.gz")
grep -q '^\.SS intarsia generate$' <<<"$page" || fail "the manual lacks verbs"
if grep -q "$build" <<<"$page"; then fail "the manual names the build"; fi

ask=(tests/golden/tiny "the state of")
pc=$(dirname "$(find "$root" -name intarsia.pc)")
library=$(dirname "$pc")
export LD_LIBRARY_PATH=$library
mapfile -t flags < <(PKG_CONFIG_PATH=$pc pkg-config --cflags --libs intarsia |
  xargs -n1)
[[ ${flags[*]} == *"$root"* ]] || fail "pkg-config gave ${flags[*]}"
cc -std=c99 -Wall -Wextra -pedantic -Werror examples/hello.c \
  -o "$root/hello" "${flags[@]}"
said=$("$root/hello" "${ask[@]}")
[[ -n $said ]] || fail "hello said nothing"
if "$root/hello" no/such/model x 2>"$root/error"; then fail "no error"; fi
grep -q no/such/model "$root/error" || fail "the error lacks its cause"

mkdir "$root/project"
cat >"$root/project/CMakeLists.txt" <<EOT
cmake_minimum_required(VERSION 3.22)
project(hello C)
find_package(Intarsia $("$program" --version | cut -d' ' -f2) REQUIRED)
add_executable(hello $source/examples/hello.c)
target_link_libraries(hello PRIVATE Intarsia::intarsia)
EOT
cmake -S "$root/project" -B "$root/project/build" \
  -DCMAKE_PREFIX_PATH="$prefix" >"$root/log" &&
  cmake --build "$root/project/build" >>"$root/log" 2>&1 || {
  cat "$root/log"
  fail "find_package(Intarsia)"
}
[[ $("$root/project/build/hello" "${ask[@]}") == "$said" ]] ||
  fail "find_package's hello says something else"
echo "installed, and hello says: $said"
