#!/usr/bin/env bash
# Builds the TypeScript client where its sources changed since the last time.
#
#   scripts/client.sh [test]     with `test`: also its own tests, and the package as it would be handed on
set -euo pipefail
cd "$(dirname "$0")/.."
topic=client
. scripts/lib.sh
use_node
stamps=$tools/stamps
from=clients/typescript
mkdir -p "$stamps"

digest() { sha256sum | cut -d' ' -f1; }
is_stamped() { [ -f "$stamps/$1" ] && [ "$(<"$stamps/$1")" = "$2" ]; }

want=$(cat "$from/package.json" "$from/package-lock.json" "$from/.npmrc" | digest)
if ! { [ -d "$from/node_modules" ] && is_stamped client-modules "$want"; }; then
    say "installing what the TypeScript client is built with ..."
    (cd "$from" && npm ci --loglevel=error </dev/null >/dev/null) || die "npm could not install what the TypeScript client is built with"
    echo "$want" >"$stamps/client-modules"
fi

want=$( (cat "$stamps/client-modules" "$from/tsconfig.json" && cat "$from"/src/*) | digest)
if ! { [ -f "$from/dist/index.js" ] && is_stamped client "$want"; }; then
    say "building the TypeScript client ..."
    rm -rf "$from/dist"
    (cd "$from" && npm run --silent build </dev/null)
    echo "$want" >"$stamps/client"
fi

if [ "${1:-}" != test ]; then exit 0; fi
(cd "$from" && npm run --silent check-codes && npm run --silent check-types && npm test --silent </dev/null >"../../$tools/client-tests.log" 2>&1) || {
    grep -A 20 '^not ok' "$tools/client-tests.log" >&2 || tail -n 40 "$tools/client-tests.log" >&2
    die "the client's tests failed; $tools/client-tests.log has all of it"
}
# The package has what was built and nothing else, and is usable as it is.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$from" && npm pack --silent --pack-destination "$work" </dev/null >/dev/null)
tar -xzf "$work"/*.tgz -C "$work"
extra=$(cd "$work/package" && find . -type f ! -path './dist/*' ! -name package.json ! -name README.md)
[ -z "$extra" ] || die "the package has what it should not: $extra"
mkdir -p "$work/node_modules/@hexward"
mv "$work/package" "$work/node_modules/@hexward/client"
cat >"$work/used.mjs" <<'USED'
import { createHexward, hs256Signer, CODES } from "@hexward/client";
import { subscribe } from "@hexward/client/browser";
import { verifyWebhook } from "@hexward/client/webhooks";
createHexward({ baseUrl: "https://hexward.example", key: "k", signUser: hs256Signer({ issuer: "i", secret: "0".repeat(32) }) }).as({ subject: "s" });
if (!CODES.length || !subscribe || !verifyWebhook) process.exit(1);
USED
node "$work/used.mjs" || die "the package can't be imported"
say "$(grep '^# pass' "$tools/client-tests.log" | tr -d '#') tests; the package can be imported"
