#!/usr/bin/env bash
# Builds wan_batch inside an image of Debian 12 or newer and installs it into /opt/wan_batch: docs/cluster.md's build without root, after
# the packages that it needs. Containerfile and wan_batch.def call this script; nothing else makes the two images different.
#
#   containers/install.sh [options of jobs/build.sh: --cpu, --from FOLDER, -j N]
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
prefix=/opt/wan_batch

# The packages that docs/cluster.md asks for (compiler, MPI, HDF5, FFmpeg), Python, which unpacks the archives, and ssh, without which
# mpirun warns.
packages=(g++ openmpi-bin libopenmpi-dev libhdf5-dev libavformat-dev libavcodec-dev libswscale-dev libavutil-dev python3 python3-venv
  ca-certificates openssh-client)
export DEBIAN_FRONTEND=noninteractive
# Without the user _apt, to whom a build without root cannot change.
apt=(apt-get -qq -o APT::Sandbox::User=root)
"${apt[@]}" update
# Where the build has one user only (Charliecloud, podman without subordinate users), packages cannot give files to another one.
probe=$(mktemp)
if ! chown daemon "$probe" 2>/dev/null; then
  "${apt[@]}" install -y --no-install-recommends fakeroot
  apt=(fakeroot "${apt[@]}")
fi
rm -f "$probe"
"${apt[@]}" install -y --no-install-recommends "${packages[@]}"

"$source/jobs/build.sh" --prefix "$prefix" "$@"

# The sources, the archives and what was built on the way would make the image three times as large.
rm -rf -- "$source" /var/lib/apt/lists/*
"$prefix/bin/wan_batch" --version
