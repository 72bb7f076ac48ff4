#!/usr/bin/env bash
# The jail's own tests on another kernel than this host's, with control groups of version 2: Debian's cloud kernel in an
# emulated machine (qemu), as root and as an ordinary user. Nothing is installed of that kernel, nothing of this host is reached.
#
#   scripts/kernels.sh            by emulation, which works everywhere and takes a few minutes
#   KVM=1 scripts/kernels.sh      with /dev/kvm, where it works
set -euo pipefail
cd "$(dirname "$0")/.."
topic=kernels
. scripts/lib.sh

work=$PWD/$tools/kernels
boot_wait=1500
[ "$(machine)" = x64 ] || die "this proof is for x86-64; run the tests of the crate jail on your machine's own kernel"

# Debian's kernel, unpacked and not installed.
fetch_kernel() {
    compgen -G "$work/kernel/boot/vmlinuz-*" >/dev/null && return
    local package
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2 }')
    [ -n "$package" ] || die "apt knows no linux-image-cloud-amd64: is this Debian? apt-get update first"
    say "getting $package ..."
    rm -rf "$work/kernel" "$work/debs"
    mkdir -p "$work/debs"
    (cd "$work/debs" && apt-get download -q "$package" </dev/null >/dev/null 2>&1) || die "$package could not be downloaded"
    dpkg -x "$work"/debs/*.deb "$work/kernel"
    rm -rf "$work/debs"
}

# The tests with the programs that they start, at the places where they look for them.
put() {
    local source=$1 target=$image$2
    mkdir -p "$(dirname "$target")"
    cp -L "$source" "$target"
}

put_with_libraries() {
    put "$1" "$1"
    strip -g "$image$1" 2>/dev/null || true
    ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
        [ -e "$image$library" ] || put "$library" "$library"
    done
}

build_image() {
    image=$work/initramfs/image
    rm -rf "$work/initramfs"
    mkdir -p "$image"/usr/{bin,lib,lib64,sbin} "$image"/{proc,sys,dev,tmp,etc,root,run,tests}
    for name in bin lib lib64 sbin; do ln -s "usr/$name" "$image/$name"; done
    echo 'root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh' >"$image/etc/passwd"
    for program in sh bash cat ls uname id sleep setsid setpriv env true find sort mkdir tee cp mv rm; do
        put_with_libraries "$(readlink -f "/usr/bin/$program")"
        [ -e "$image/usr/bin/$program" ] || ln -s "$(basename "$(readlink -f "/usr/bin/$program")")" "$image/usr/bin/$program"
    done
    put_with_libraries "$PWD/target/debug/hexward-jail"
    put_with_libraries "$PWD/target/debug/examples/probe"
    local name path
    while read -r name path; do
        put_with_libraries "$PWD/$path"
        ln -s "$PWD/$path" "$image/tests/$name"
    done <"$work/tests"
    # It is a folder of this user; another one has to pass.
    find "$image" -type d -exec chmod a+rx {} +
    put "$(find "$work/kernel/lib/modules" -name overlay.ko)" /overlay.ko
    put "$(command -v busybox)" /usr/bin/busybox
    put scripts/kernels.guest.sh /guest
    put "$(command -v busybox)" /../busybox
    cat >"$work/initramfs/init" <<'INIT'
#!/busybox sh
/busybox mkdir -p /new
/busybox mount -t tmpfs -o mode=755,size=70% root /new
/busybox cp -a /image/. /new/
exec /busybox switch_root /new /usr/bin/busybox sh /guest
INIT
    chmod 0755 "$work/initramfs/init" "$work/initramfs/busybox"
    (cd "$work/initramfs" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initramfs.gz"
    rm -rf "$work/initramfs"
}

list_tests() {
    cargo test --locked -p jail --no-default-features --no-run 2>&1 | tee "$work/build.log" |
        sed -n 's,.*Executable tests/\([a-z]*\)\.rs (\(.*\)).*,\1 \2,p' >"$work/tests"
    [ -s "$work/tests" ] || { tail -n 20 "$work/build.log" >&2; die "the tests of the crate jail could not be built"; }
}

boot() {
    local accel=(-accel "tcg,thread=multi" -cpu max) kernel
    if [ "${KVM:-0}" = 1 ]; then accel=(-accel kvm -cpu host); fi
    kernel=$(compgen -G "$work/kernel/boot/vmlinuz-*" | head -n 1)
    say "starting $(basename "$kernel") in qemu; its console is in $work/console ..."
    timeout "$boot_wait" qemu-system-x86_64 -nodefaults -no-reboot -display none -serial stdio -m 3072 -smp 2 "${accel[@]}" \
        -kernel "$kernel" -initrd "$work/initramfs.gz" -append "console=ttyS0 quiet panic=-1" </dev/null >"$work/console" 2>&1 ||
        say "the machine did not end in order"
}

scripts/setup.sh kernels
mkdir -p "$work"
fetch_kernel
say "building the tests ..."
# Without the probe of `hexward redteam`, which these tests do not start.
cargo build --locked -p jail --no-default-features --bins --examples
list_tests
build_image
boot
tr -d '\r' <"$work/console" | sed -n 's/^KERNELS: /  /p'
if ! grep -q '^KERNELS: end' "$work/console"; then
    tail -n 30 "$work/console" >&2
    die "the machine ended before its tests did"
fi
if grep -q '^KERNELS: FAILED' "$work/console"; then
    die "not everything held there; $work/console says what"
fi
say "everything held"
