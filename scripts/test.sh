#!/usr/bin/env bash
# Everything that must hold before a change lands, in the order in which it fails fastest. `make test` and CI run this.
set -euo pipefail
cd "$(dirname "$0")/.."
topic=test
. scripts/lib.sh

passed=0
began=$SECONDS
# step NAME COMMAND...: stops everything at the first step that fails.
step() {
    local name=$1 from=$SECONDS
    shift
    say "$name ..."
    if ! "$@"; then
        say "$name FAILED after $((SECONDS - from)) s"
        printf 'steps: %d passed, 1 failed\n' "$passed"
        exit 1
    fi
    passed=$((passed + 1))
    say "$name passed in $((SECONDS - from)) s"
}

in_ui() { (cd ui && "$@" </dev/null); }

step "set-up" scripts/setup.sh test
use_node
step "pages" scripts/ui.sh modules
step "formatting" cargo fmt --all --check
step "tidy" cargo xtask tidy
step "TypeScript client" scripts/client.sh test
step "build" cargo build --locked -p hexward -p jail
step "agent" target/debug/hexward agent install
step "lints" cargo clippy --locked --workspace --all-targets -- -D warnings
# All of them, whatever fails: one run says everything that is wrong.
step "Rust tests" cargo test --locked --workspace --no-fail-fast
step "page types" in_ui npm run --silent check
step "page tests" in_ui npm test --silent
step "page stories" in_ui npm run --silent e2e
step "browser against the gateway" scripts/e2e.sh
step "Next.js example" scripts/example.sh test
say "all steps passed in $((SECONDS - began)) s"
printf 'steps: %d passed, 0 failed\n' "$passed"
