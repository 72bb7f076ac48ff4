#!/usr/bin/env bash
# A browser against the whole gateway: starts `hexward demo` on a free port, writes a message, looks for the tile, and does what
# a person does with their own hands.
set -euo pipefail
cd "$(dirname "$0")/.."
topic=e2e
. scripts/lib.sh
use_node
ready_secs=60
work=$(mktemp -d)
# A gateway that root starts becomes somebody else, who must be able to pass.
chmod 755 "$work"
gateway=

finish() {
    local status=$?
    if [ -n "$gateway" ]; then
        kill -TERM "$gateway" 2>/dev/null || true
        wait "$gateway" 2>/dev/null || true
    fi
    if [ "$status" != 0 ]; then
        say "failed; the gateway's last lines:"
        tail -n 40 "$work/log" >&2 || true
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT

target/debug/hexward demo --listen 127.0.0.1:0 --state-dir "$work/state" </dev/null >"$work/log" 2>&1 &
gateway=$!
url=
for _ in $(seq $((ready_secs * 10))); do
    url=$(sed -n 's/^hexward demo ready: \(http[^ ]*\).*/\1/p' "$work/log" | head -n 1)
    if [ -n "$url" ]; then break; fi
    kill -0 "$gateway" 2>/dev/null || die "the gateway ended before it was ready"
    sleep 0.1
done
[ -n "$url" ] || die "the gateway was not ready within $ready_secs s"
HEXWARD_URL=$url node ui/e2e/chat.mjs
# What a person does with their own hands, each story as a new person.
HEXWARD_URL=$url node ui/e2e/hands.mjs
# Cards and rules beside the map, looked up without an account.
HEXWARD_URL=$url node ui/e2e/lookups.mjs
