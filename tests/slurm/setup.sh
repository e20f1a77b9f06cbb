#!/usr/bin/env bash
# Installs what the tests of this folder need beyond jobs/setup.sh: Slurm's daemons and clients, MUNGE, shellcheck, and
# environment-modules where there is no Lmod. As root on Debian 12 or Ubuntu 24.04; nothing is started or configured: the tests start a
# Slurm of their own in a temporary folder.
#
#   tests/slurm/setup.sh
#
# Exit codes: 0 all there, 77 it cannot be had here (the tests are then skipped with the reason printed).
set -euo pipefail
packages=(slurmctld slurmd slurm-client munge shellcheck environment-modules)

skip() {
  printf 'tests/slurm/setup.sh: %s\n' "$*" >&2
  exit 77
}

missing=()
[ ! -r /etc/profile.d/lmod.sh ] || unset "packages[-1]"
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || skip "no apt-get here; install the counterparts of: ${packages[*]}"
[ "$(id -u)" -eq 0 ] || skip "missing: ${missing[*]}; only root may install them"

# The packages' services would start, also in a container: a Slurm without configuration and a MUNGE that nobody asked for.
policy=/usr/sbin/policy-rc.d made_policy=""
log=$(mktemp)
trap 'rm -f "$log" ${made_policy:+"$made_policy"}' EXIT
if [ ! -e "$policy" ]; then
  made_policy=$policy
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
  tail -n 20 "$log" >&2
  skip "apt-get could not install ${missing[*]} (its last lines are above)"
fi
