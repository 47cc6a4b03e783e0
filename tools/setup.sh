#!/bin/sh
# Installs the Debian packages that building, testing and the demo need, and that are missing. Idempotent: with
# everything there it prints nothing and needs no rights. Further package names may be given as arguments.
set -eu

packages="g++ cmake ninja-build ccache pkg-config libfmt-dev nlohmann-json3-dev libcli11-dev libpcre2-dev \
libutf8proc-dev libedit-dev libxxhash-dev libyaml-cpp-dev libcurl4-openssl-dev libssl-dev \
libboost1.81-dev ca-certificates libgtest-dev python3 python3-pip python3-dev python3-numpy pybind11-dev $*"

command -v dpkg-query >/dev/null || {
  echo "setup: not a Debian system; install by hand: $packages" >&2
  exit 1
}
missing=""
for package in $packages; do
  status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
  [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || {
    echo "setup: not root and no sudo; as root, run: apt-get install$missing" >&2
    exit 1
  }
  as_root="sudo"
fi
echo "setup: installing$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086  # a list of packages
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
