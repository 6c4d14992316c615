#!/bin/sh
# The first process of a node, already in namespaces of its own for mounts, processes, network, IPC
# and names. It gives the node its own places for files and its own kernel settings, and then waits
# as `pause`. All of it is gone when this process is.
#
# node_init.sh CACHE FOLDER NAME PAUSE CGROUP_FILE...
set -eu
cache=$1 folder=$2 name=$3 pause=$4
shift 4
for file in "$@"; do echo 0 >"$file"; done

hostname "$name"
# Everything that runs here comes from the cache, which must not disappear below what follows.
mount --rbind "$cache" /mnt
for place in run var/lib var/log; do mount -t tmpfs tmpfs "/$place"; done
mkdir -p "$cache" /run/netns /run/lock
mount --move /mnt "$cache"

# kubelet writes these; this machine keeps what it has.
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    if [ -e "/proc/sys/$setting" ]; then
        own=/run/settings/$setting
        mkdir -p "${own%/*}"
        cat "/proc/sys/$setting" >"$own"
        mount --bind "$own" "/proc/sys/$setting"
    fi
done

# The same paths on all nodes, with files of their own behind them.
for place in lib/kubelet lib/containerd lib/cni log/pods log/containers; do
    mkdir -p "$folder/var/$place" "/var/$place"
    mount --bind "$folder/var/$place" "/var/$place"
done
mount --make-rshared /

: >"$folder/ready"
exec "$pause"
