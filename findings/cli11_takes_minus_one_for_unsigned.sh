#!/usr/bin/env bash
# CLI11 2.1.2 (Debian 12) takes "-1" for an option of type uint64_t and gives
# 18446744073709551615, and reads "010" as octal: 8. Neither is an error.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq libcli11-dev=2.1.2+ds-1
dpkg -x libcli11-dev_*.deb .
cat > a.cc <<'CC'
#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
int main(int argc, char** argv) {
  CLI::App app;
  uint64_t seed = 7;
  int count = 7;
  app.add_option("--seed", seed);
  app.add_option("--count", count);
  CLI11_PARSE(app, argc, argv);
  std::printf("%llu %d\n", static_cast<unsigned long long>(seed), count);
}
CC
g++ -std=c++17 -Iusr/include a.cc -o a
seen="$(./a --seed -1); $(./a --count 010)"
echo "$seen"
[ "$seen" = "18446744073709551615 7; 7 8" ]
