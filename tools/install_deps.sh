#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that the build needs and that are
# missing; with the argument "test" also those of `make test`. Asks first when a
# person is there.
set -euo pipefail

packages=(g++ cmake ninja-build ccache pkg-config git ca-certificates
          libhwy-dev nlohmann-json3-dev libpcre2-dev libcli11-dev
          zlib1g-dev libcurl4-openssl-dev libedit-dev)
if [[ ${1:-} == test ]]; then
  packages+=(libgtest-dev libgmock-dev clang clang-format-14 python3)
  # The sanitizers' runtime goes by clang's version: 14 in Debian 12, 18 in
  # Ubuntu 24.04.
  release=$(. /etc/os-release && echo "$ID $VERSION_ID")
  case $release in
    "debian 12") packages+=(libclang-rt-14-dev) ;;
    "ubuntu 24.04") packages+=(libclang-rt-18-dev) ;;
  esac
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
  [[ $status == "install ok installed" ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "error: this system has no apt-get. Please install the equivalents of:" >&2
  echo "  ${missing[*]}" >&2
  exit 1
fi
sudo=()
[[ $(id -u) -eq 0 ]] || sudo=(sudo)
echo "Needed and not installed: ${missing[*]}" >&2
if [[ -t 0 && -z ${CI:-} ]]; then
  read -r -p "Install them with apt-get? [Y/n] " answer
  if [[ $answer == [nN]* ]]; then
    echo "Then install them yourself and run make again." >&2
    exit 1
  fi
fi
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
