# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Running programs so that a signal ends them at once, and cleaning up after every kind of end.

WORK_DIR=
PARTIAL=
LOCK_FILE=
CHILD=

# interruptible COMMAND...: bash runs a trap only between commands, except while it waits for one.
interruptible() {
    local status=0
    "$@" &
    CHILD=$!
    wait "$CHILD" || status=$?
    CHILD=
    return "$status"
}

# in_namespaces COMMAND...: as root, with mounts and processes of its own, which all end when the
# first of these processes does.
in_namespaces() {
    # shellcheck disable=SC2016  # expanded by the inner shell
    interruptible as_root sh -c 'echo "$$" > "$0" && exec "$@"' "$WORK_DIR/namespaces.pid" \
        unshare --mount --propagation private --pid --fork --kill-child --mount-proc -- "$@"
    as_root rm -f -- "$WORK_DIR/namespaces.pid"
}

# make_work_dir: the only place, besides the caches, where temporary files go.
make_work_dir() {
    WORK_DIR=$(mktemp -d -- "$WORKING_DIR/amphora-build.XXXXXXXX")
    PARTIAL=$(dirname -- "$OUTPUT")/.$(basename -- "$OUTPUT").partial
}

# lock_output: two builds of the same image would overwrite each other.
lock_output() {
    local file
    file=$(dirname -- "$OUTPUT")/.$(basename -- "$OUTPUT").lock
    exec {OUTPUT_LOCK}> "$file"
    # The holder removes the file when it ends: what was locked must still be what is there.
    if ! flock --nonblock "$OUTPUT_LOCK" || ! [[ $file -ef /proc/self/fd/$OUTPUT_LOCK ]]; then
        die "another build is making $OUTPUT; wait for it, or choose another --output"
    fi
    LOCK_FILE=$file
}

# stop_child: ends what runs now, with everything that it started.
stop_child() {
    local pid=''
    if [[ -n $WORK_DIR && -e $WORK_DIR/namespaces.pid ]]; then
        pid=$(< "$WORK_DIR/namespaces.pid")
        # The first process of the namespace is a child of this one; when it goes, all go.
        as_root kill -KILL "$pid" 2> /dev/null || true
    elif [[ -n $CHILD ]]; then
        kill -TERM "$CHILD" 2> /dev/null || true
    fi
    [[ -z $CHILD ]] || wait "$CHILD" 2> /dev/null || true
    CHILD=
}

# on_exit: the EXIT trap.
on_exit() {
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP
    set +e
    stop_child
    ((status == 0)) || report_failure "$status"
    [[ -z $PARTIAL ]] || rm -f -- "$PARTIAL"
    if [[ -n $WORK_DIR ]]; then
        # A process that was just killed may still be creating files.
        as_root rm -rf --one-file-system -- "$WORK_DIR" 2> /dev/null \
            || { sleep 1 && as_root rm -rf --one-file-system -- "$WORK_DIR"; }
    fi
    [[ -z $LOCK_FILE ]] || rm -f -- "$LOCK_FILE"
    exit "$status"
}

# on_signal NAME STATUS
on_signal() {
    die "interrupted by $1${STAGE:+ in stage \"$STAGE\"}" "$2"
}
