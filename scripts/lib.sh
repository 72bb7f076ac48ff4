# What the scripts share. Sourced by bash with `set -euo pipefail`, in the repository's root.

tools=.hexward
umask 022
export PATH="$PATH:${HOME:-}/.cargo/bin"

say() { printf '[%s] %s\n' "${topic:-hexward}" "$*"; }

die() {
    printf '[%s] error: %s\n' "${topic:-hexward}" "$*" >&2
    exit 1
}

# The UI's build tool wants this Node.js or a newer one (ui/package.json, "engines").
node_least=20.19.0
# What is fetched where the system's is older or missing: the npm package that holds the plain program, no scripts.
node_package_version=22.23.3

machine() {
    case "$(uname -m)" in
        x86_64) echo x64 ;;
        aarch64 | arm64) echo arm64 ;;
        *) die "no agent and no Node.js package exists for this machine ($(uname -m))" ;;
    esac
}

# Whether a Node.js that is new enough is the first on the path.
node_is_new_enough() {
    local have
    have=$(node --version 2>/dev/null) || return 1
    printf '%s\n%s\n' "$node_least" "${have#v}" | sort -VC
}

# Puts our own Node.js first on the path where the system's does not do.
use_node() {
    local own="$PWD/$tools/tools/node_modules/node-linux-$(machine)/bin"
    if [ -x "$own/node" ]; then export PATH="$own:$PATH"; fi
}
