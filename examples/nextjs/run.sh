#!/usr/bin/env bash
# The example, started: gateway with the scripted model, and the Next.js application in front of it, all on loopback. Sets up what is missing.
#
#   examples/nextjs/run.sh
#
# EXAMPLE_PORT, EXAMPLE_PEOPLE_PORT, EXAMPLE_CALLERS_PORT: other ports than 7430, 7431, 7432; "free" as the first takes any.
# EXAMPLE_STATE: another folder than .hexward/example for users, tiles and the gateway's data. EXAMPLE_BIN: where hexward is, to start it as it is.
# REAL=1: the real model, with ANTHROPIC_API_KEY.
set -euo pipefail
cd "$(dirname "$0")/../.."
topic=example
. scripts/lib.sh
use_node
ready_secs=60
here=examples/nextjs
state=${EXAMPLE_STATE:-$tools/example}
bin=${EXAMPLE_BIN:-target/release}
export NEXT_TELEMETRY_DISABLED=1

if [ -z "${EXAMPLE_BIN:-}" ]; then
    # Quick when nothing changed.
    make --no-print-directory build
fi
scripts/example.sh build

port=${EXAMPLE_PORT:-7430}
people=${EXAMPLE_PEOPLE_PORT:-7431}
callers=${EXAMPLE_CALLERS_PORT:-7432}
if [ "$port" = free ]; then
    read -r port people callers < <(node -e '
        const { createServer } = require("node:net");
        const all = [0, 1, 2].map(() => createServer().listen(0, "127.0.0.1"));
        setTimeout(() => { console.log(all.map((one) => one.address().port).join(" ")); all.forEach((one) => one.close()); }, 100);')
fi

mkdir -p "$state"
state=$(cd "$state" && pwd)
# A gateway that root starts becomes somebody else, who must be able to pass.
chmod 755 "$state"
mkdir -p "$state/application" && chmod 700 "$state/application"

# Secrets: made once, in a file that only its owner can read, and in the environment of the two programs alone.
secrets=$state/secrets
if [ ! -f "$secrets" ]; then
    (
        umask 077
        for name in SESSION_SECRET HEXWARD_ASSERTION_SECRET TILES_TOOLS_TOKEN HEXWARD_HOOK_SECRET; do
            echo "$name=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')"
        done >"$secrets.new"
        mv "$secrets.new" "$secrets"
    )
fi

app=$state/app
rm -rf "$app" && mkdir -p "$app"
cp "$here/hexward/prompt.md" "$app/"
sed "s|127\.0\.0\.1:7430|127.0.0.1:$port|" "$here/hexward/app.toml" >"$app/app.toml"
origin=http://127.0.0.1:$port
sed -e "s|@PEOPLE@|$people|; s|@CALLERS@|$callers|; s|@APP@|$app|; s|@ORIGIN@|$origin|g" "$here/hexward/hexward.toml" >"$state/hexward.toml"

# The service key is made before the gateway's first start, while its database is still ours.
if [ ! -f "$state/gateway/hexward.db" ] || [ ! -f "$state/key" ]; then
    rm -rf "$state/gateway"
    say "making a service key ..."
    (umask 077 && "$bin/hexward" key --state-dir "$state/gateway" --config "$state/hexward.toml" create example --purpose service --host tiles \
        --app tiles >"$state/key.new") ||
        die "no service key could be made"
    mv "$state/key.new" "$state/key"
fi

set -a
. "$secrets"
set +a
gateway=
application=
finish() {
    local status=$? one
    trap - EXIT INT TERM
    for one in $application $gateway; do kill -TERM "$one" 2>/dev/null || true; done
    for one in $application $gateway; do wait "$one" 2>/dev/null || true; done
    exit "$status"
}
trap finish EXIT
trap 'exit 0' INT TERM

# The application has no variable of the gateway's, and the other way round, but for the three secrets that they share.
env -u ANTHROPIC_API_KEY APP_ORIGIN="$origin" DATA_DIR="$state/application" HEXWARD_URL="http://127.0.0.1:$callers" HEXWARD_PUBLIC_URL="http://127.0.0.1:$people" \
    HEXWARD_KEY="$(cat "$state/key")" HEXWARD_ISSUER="$origin" HEXWARD_ASSERTION_KEYS="$state/gateway/assertion-keys.json" NODE_ENV=production \
    node "$here/node_modules/next/dist/bin/next" start "$here" --hostname 127.0.0.1 --port "$port" </dev/null >"$state/application.log" 2>&1 &
application=$!
# Under its own name, so that the links for confirmations lead there.
env -u SESSION_SECRET HEXFRAME_API_BASE_URL="http://127.0.0.1:$people" \
    "$bin/hexward" demo --config "$state/hexward.toml" --state-dir "$state/gateway" --app tiles ${REAL:+--real} </dev/null >"$state/gateway.log" 2>&1 &
gateway=$!

failed() {
    say "$1; the last lines of $2:"
    tail -n 20 "$2" >&2
    exit 1
}
for _ in $(seq $((ready_secs * 10))); do
    kill -0 "$gateway" 2>/dev/null || failed "the gateway ended" "$state/gateway.log"
    kill -0 "$application" 2>/dev/null || failed "the application ended" "$state/application.log"
    if grep -q '^hexward demo ready' "$state/gateway.log" && grep -q 'Ready in' "$state/application.log"; then
        printf 'example ready: %s/ (gateway: http://127.0.0.1:%s/)\n' "$origin" "$people"
        wait -n "$gateway" "$application" || true
        failed "one of the two ended" "$state/gateway.log"
    fi
    sleep 0.1
done
failed "it was not ready within $ready_secs s" "$state/gateway.log"
