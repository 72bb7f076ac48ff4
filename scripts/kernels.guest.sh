# The first program of the emulated machine (scripts/kernels.sh): sets up what a service manager would, runs the tests.
b=/usr/bin/busybox
PATH=/usr/bin
export PATH
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
$b mkdir -p /dev/shm /dev/pts
$b mount -t devpts devpts /dev/pts
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
$b chmod 1777 /tmp
$b ip link set lo up
$b insmod /overlay.ko
say() { echo "KERNELS: $*"; }
say "$(uname -r), control groups of version 2: $(cat /sys/fs/cgroup/cgroup.controllers), LSM: $(
    $b mount -t securityfs none /sys/kernel/security && cat /sys/kernel/security/lsm
)"

# run WHO GROUP TESTS COMMAND...: test programs in a control group.
run() {
    local who=$1 group=$2 tests=$3 test status seen
    shift 3
    echo $$ >"/sys/fs/cgroup$group/cgroup.procs"
    for test in $tests; do
        "$@" "/tests/$test" --test-threads 2 $skip >/tmp/said 2>&1 </dev/null
        status=$?
        cat /tmp/said
        seen=$($b grep '^test result' /tmp/said)
        if [ $status = 0 ]; then
            say "held    $who: $test: $seen"
        else
            say "FAILED  $who: $test: ${seen:-status $status}: $($b grep '^test .* FAILED' /tmp/said | $b tr '\n' ';')"
        fi
    done
    echo $$ >/sys/fs/cgroup/cgroup.procs
}

# An emulated machine is too slow for these: one wants an answer within seconds, one that a start takes little processor time.
skip="--skip a_storm_of_requests_is_bounded --skip what_a_sandbox_uses_is_told"
# These insist on all of Landlock (Linux 6.12), and an older kernel's downgrades are told, which other tests see.
case $(uname -r) in
    5.* | 6.[0-9].* | 6.1[01].*) skip="$skip --skip rules_on_files_and_signals_hold --skip signals_and_abstract_sockets_are_kept_in" ;;
esac
# Hundreds of lives take minutes here, so they are lived once.
long=cycles
short=$(ls /tests | $b grep -v "^$long$")
# The helper is what root leaves behind, and nobody else's.
users=$(echo "$short" | $b grep -v '^helper$')
groups=/sys/fs/cgroup
# As a service manager delegates: the group of the service is the user's, the gateway in a group of its own below.
mkdir -p $groups/service/gateway $groups/own/gateway
echo "+memory +pids +cpu" >$groups/cgroup.subtree_control
$b chown 65534:65534 $groups/own $groups/own/cgroup.* $groups/own/gateway $groups/own/gateway/cgroup.*
# The real one, not the applet of the shell.
user="/usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups"
run "root in a delegated group" /service/gateway "$short" env
run "an ordinary user in a delegated group" /own/gateway "$users" $user
run "an ordinary user" "" "$users" $user
run "root" "" "$short" env
run "root" "" $long env
say end
$b poweroff -f
