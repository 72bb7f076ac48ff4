#!/usr/bin/env bash
# The Next.js example: built where its sources changed since the last time, and tried with a browser.
#
#   scripts/example.sh build
#   scripts/example.sh test      starts it all on free ports, and signs in, asks, watches, confirms and undoes
set -euo pipefail
cd "$(dirname "$0")/.."
topic=example
. scripts/lib.sh
use_node
stamps=$tools/stamps
from=examples/nextjs
mkdir -p "$stamps"
export NEXT_TELEMETRY_DISABLED=1
# Of everything here but the set-up, which only happens once.
test_secs=150
ready_secs=90

digest() { sha256sum | cut -d' ' -f1; }
is_stamped() { [ -f "$stamps/$1" ] && [ "$(<"$stamps/$1")" = "$2" ]; }

build() {
    local want
    scripts/client.sh
    # Its copy of the client is installed as any package is, so it is a part of what is installed.
    want=$(cat "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$stamps/client" | digest)
    if ! { [ -d "$from/node_modules" ] && is_stamped example-modules "$want"; }; then
        say "installing the example's packages ..."
        (cd "$from" && npm ci --loglevel=error </dev/null >/dev/null) || die "npm could not install the example's packages"
        echo "$want" >"$stamps/example-modules"
    fi
    want=$( (cat "$stamps/example-modules" "$from/next.config.mjs" "$from/tsconfig.json" && find "$from/src" -type f -print0 | sort -z | xargs -0 sha256sum) | digest)
    if [ -f "$from/.next/BUILD_ID" ] && is_stamped example "$want"; then return; fi
    say "building the example ..."
    rm -rf "$from/.next"
    (cd "$from" && NODE_ENV=production npm run --silent build </dev/null >"../../$tools/example-build.log" 2>&1) || {
        tail -n 40 "$tools/example-build.log" >&2
        die "the example could not be built"
    }
    echo "$want" >"$stamps/example"
}

try() {
    local url= example status=0
    node --test "$from/test/" </dev/null >"$tools/example-tests.log" 2>&1 || {
        grep -A 20 '^not ok' "$tools/example-tests.log" >&2 || tail -n 40 "$tools/example-tests.log" >&2
        die "the example's own tests failed; $tools/example-tests.log has all of it"
    }
    work=$(mktemp -d)
    chmod 755 "$work"
    EXAMPLE_PORT=free EXAMPLE_STATE=$work/state EXAMPLE_BIN=target/debug examples/nextjs/run.sh </dev/null >"$work/log" 2>&1 &
    example=$!
    for _ in $(seq $((ready_secs * 10))); do
        url=$(sed -n 's/^example ready: \(http[^ ]*\)\/ .*/\1/p' "$work/log" | head -n 1)
        if [ -n "$url" ] || ! kill -0 "$example" 2>/dev/null; then break; fi
        sleep 0.1
    done
    if [ -n "$url" ]; then
        EXAMPLE_URL=$url EXAMPLE_STATE=$work/state timeout "$test_secs" node "$from/e2e/story.mjs" </dev/null || status=$?
    else
        say "the example was not ready"
        status=1
    fi
    kill -TERM "$example" 2>/dev/null || true
    wait "$example" 2>/dev/null || true
    if [ "$status" != 0 ]; then
        for log in "$work/log" "$work/state/application.log" "$work/state/gateway.log"; do
            say "the last lines of ${log##*/}:"
            tail -n 25 "$log" >&2 || true
        done
    fi
    rm -rf "$work"
    return "$status"
}

case "${1:-}" in
    build) build ;;
    test)
        build
        try
        ;;
    *) die "scripts/example.sh build|test" ;;
esac
