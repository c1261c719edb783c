#!/bin/sh
# Runs a benchmark where its CPU figures are instructions: in an emulated machine whose clock advances
# by one nanosecond an instruction, kernel included. For hosts that are never calm; see README.md.
set -eu

usage="usage: benches/instructions/run.sh KERNEL-FOLDER PROGRAM [ARGUMENT]...
PROGRAM: compare, python_event or another of target/quick
KERNEL-FOLDER: what \`dpkg-deb -x linux-image-VERSION.deb KERNEL-FOLDER\` made (boot/, lib/modules/)"
# A run of the six servers takes minutes a turn; nothing waits longer than this for the whole.
limit=${INSTRUCTIONS_LIMIT:-4h}

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}
[ $# -ge 2 ] && [ -d "$1/boot" ] || fail "$usage"
kernel_folder=$1
program=$2
shift 2
# There is one core, for the servers and for what loads them.
[ "$program" != compare ] || set -- --server-core 0 --load-core 0 "$@"
for needed in qemu-system-x86_64 busybox; do
    command -v $needed >/dev/null ||
        fail "$needed is missing; on Debian: apt-get install qemu-system-x86 busybox-static"
done
kernel=$(find "$kernel_folder/boot" -name 'vmlinuz-*' | head -n 1)
[ -n "$kernel" ] || fail "no boot/vmlinuz-* in $kernel_folder"
here=$(cd "$(dirname "$0")" && pwd)
workspace=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The guest's first files: busybox, the modules of virtio and 9p, and `init`.
mkdir -p "$work/root/bin" "$work/root/modules" "$work/root/host" "$work/root/proc" \
    "$work/root/sys" "$work/root/dev" "$work/results"
cp "$(command -v busybox)" "$work/root/bin/"
cp "$here/init" "$work/root/init"
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci \
    netfs fscache 9pnet 9pnet_virtio 9p; do
    find "$kernel_folder/lib/modules" -name "$module.ko" -exec cp {} "$work/root/modules/" ';'
done
(cd "$work/root" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd"

quoted=
for argument in "$@"; do
    quoted="$quoted '$(printf '%s' "$argument" | sed "s/'/'\\\\''/g")'"
done
# The guest sees the host's files but writes only to memory, here included.
mkdir -p "$workspace/target/quick/bench-state"
cat >"$work/results/job" <<JOB
export HOME=/tmp PATH=/usr/local/bin:/usr/bin:/bin
export NUCLIO_RUNTIMES='${NUCLIO_RUNTIMES:-$workspace/target/dist/nuclio/runtimes}'
cd '$workspace'
mount -t tmpfs tmpfs target/quick/bench-state
'target/quick/$program' $quoted
JOB

# One virtual CPU, else one CPU's instructions would pass as time on the other. No `erms`: with it
# the kernel copies byte by byte (`rep movsb`), which counts a byte as an instruction.
timeout "$limit" qemu-system-x86_64 -accel tcg -icount shift=0,sleep=on -smp 1 -m 4096 \
    -cpu Haswell-noTSX,-erms -nodefaults -nographic -serial "file:$work/console" -no-reboot \
    -kernel "$kernel" -initrd "$work/initrd" -append "console=ttyS0 panic=-1 mitigations=off" \
    -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=host,mount_tag=host \
    -fsdev "local,id=results,path=$work/results,security_model=none" \
    -device virtio-9p-pci,fsdev=results,mount_tag=results 2>"$work/qemu" ||
    { cat "$work/qemu" >&2; fail "the emulator ended early"; }
[ -f "$work/results/status" ] || { tail -n 20 "$work/console" >&2; fail "the guest did not run"; }
cat "$work/results/output"
exit "$(cat "$work/results/status")"
