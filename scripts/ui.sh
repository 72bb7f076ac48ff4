#!/usr/bin/env bash
# Builds the pages into ui/dist, when their sources changed since the last time.
#
#   scripts/ui.sh [modules]     with `modules`: also makes sure that ui/node_modules is there, for the pages' own tests
set -euo pipefail
cd "$(dirname "$0")/.."
topic=ui
. scripts/lib.sh
use_node
stamps=$tools/stamps
mkdir -p "$stamps"

sources() { find ui -type d \( -name node_modules -o -name dist -o -name e2e \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum; }
digest() { sha256sum | cut -d' ' -f1; }
is_stamped() { [ -f "$stamps/$1" ] && [ "$(<"$stamps/$1")" = "$2" ]; }

modules() {
    local want
    want=$(cat ui/package.json ui/package-lock.json | digest)
    if [ -d ui/node_modules ] && is_stamped modules "$want"; then return; fi
    say "installing the pages' packages ..."
    (cd ui && npm ci --include=dev --no-audit --no-fund --loglevel=error </dev/null)
    echo "$want" >"$stamps/modules"
}

want=$(sources | digest)
if [ "${1:-}" = modules ]; then modules; fi
if [ -f ui/dist/index.html ] && is_stamped pages "$want"; then exit 0; fi
modules
say "building the pages ..."
(cd ui && npm run --silent build -- --logLevel warn </dev/null)
echo "$want" >"$stamps/pages"
