#!/bin/sh
# Runs the compiled system tests on a node with systemd, as root, without cargo and without a network:
#
#   lab-suite.sh PROGRAMS CRICTL DRIVER TEST... [-- FILTER...]
#
# PROGRAMS is the directory of the engine's programs, DRIVER the cgroup driver (systemd or cgroupfs), each TEST a program
# that `cargo test --no-run -p ochre-e2e` has made. The tests run one after the other, each program in a network and a
# mount namespace of its own. Fails when a test fails, or when a scope, a slice of pods or a cgroup of the engine's is
# left on the node afterwards.
set -u

programs=$1 crictl=$2 driver=$3
shift 3
tests=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    tests="$tests $1"
    shift
done
[ $# -eq 0 ] || shift

export OCHRE_PROGRAMS="$programs" OCHRE_CRICTL="$crictl" CONTAINER_CGROUP_MANAGER="$driver"

left_behind() {
    systemctl list-units --all --plain --no-legend 'crio-*.scope' 'kubepods*.slice'
    find /sys/fs/cgroup -type d \( -name 'crio-*' -o -name 'kubepods*' -o -name crio \)
}

failed=0
for test in $tests; do
    began=$(date +%s)
    # The private network has a loopback and no way out, as the one of the tests' usual runner.
    if unshare --net --mount sh -c 'ip link set lo up && mount --make-rshared / && exec "$@"' sh \
        "$test" --test-threads 1 "$@"; then
        verdict=passed
    else
        verdict=FAILED failed=1
    fi
    left=$(left_behind)
    if [ -n "$left" ]; then
        verdict="$verdict, but left behind:
$left" failed=1
    fi
    echo "== $driver $(basename "$test"): $verdict ($(($(date +%s) - began)) s)"
done
exit $failed
