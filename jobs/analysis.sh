#!/usr/bin/env bash
# Runs the analysis package with the project's own Python, after jobs/setup.sh:
#
#   jobs/analysis.sh report OUT1 OUT2 OUT4 -o report.html [--png DIR]
set -euo pipefail
# shellcheck source=jobs/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ -x "$project/.venv/bin/python" ] || die "there is no .venv: run jobs/setup.sh first"
PYTHONPATH=$project/analysis${PYTHONPATH:+:$PYTHONPATH} exec "$project/.venv/bin/python" -m wan_analysis "$@"
