#!/bin/sh
# Runs the conformance suite on a node with systemd, as root, without cargo and without a network:
#
#   lab.sh XTASK PROGRAMS DRIVER [ARGUMENT...]
#
# XTASK is the compiled xtask, PROGRAMS the directory of the engine's programs, DRIVER the cgroup driver (systemd or
# cgroupfs); the arguments go to `xtask critest`. CARGO_TARGET_DIR is where `cargo xtask critest` has left the suite and
# its busybox. Fails when the suite does, or when a scope, a slice of pods or a cgroup of the engine's is left on the node.
set -u

xtask=$1 programs=$2 driver=$3
shift 3
# /tmp is often a tmpfs; images belong on a disk.
export CONTAINER_CGROUP_MANAGER="$driver" TMPDIR=/var/tmp

left_behind() {
    systemctl list-units --all --plain --no-legend 'crio-*.scope' 'kubepods*.slice'
    find /sys/fs/cgroup -type d \( -name 'crio-*' -o -name 'kubepods*' -o -name crio \)
}

failed=0
unshare --net --mount --ipc sh -c 'ip link set lo up && mount --make-rshared / && exec "$@"' sh \
    "$xtask" critest --inside --programs "$programs" "$@" || failed=1
left=$(left_behind)
if [ -n "$left" ]; then
    echo "left behind:"
    echo "$left"
    failed=1
fi
exit $failed
