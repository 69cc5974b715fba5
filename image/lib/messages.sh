# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the person at the keyboard sees: errors, stages with the time they took, and the report of a
# failure. Everything that programs print goes to the log file alone.

PROGRAM=build.sh
LOG_FILE=
STAGE=
STAGE_START=0
# The console, while a stage's own output goes to the log file.
exec {CONSOLE}>&1 {CONSOLE_ERRORS}>&2

# Ends the program with a message for its user.
die() {
    # An explained end needs no report of the stage.
    [[ -z $STAGE ]] || say ''
    STAGE=
    printf '%s: %s\n' "$PROGRAM" "$1" >&"$CONSOLE_ERRORS"
    exit "${2:-1}"
}

# Ends the program because of a wrong option or argument.
die_usage() {
    die "$1 ($PROGRAM --help lists the options)" 2
}

say() {
    printf '%s\n' "$1" >&"$CONSOLE"
}

# 83 -> 1:23
minutes() {
    printf '%d:%02d' $(($1 / 60)) $(($1 % 60))
}

# run_stage NAME FUNCTION: the output goes to the log file; a failure ends the program through the
# shell's errexit, and the EXIT trap reports it.
run_stage() {
    STAGE=$1
    STAGE_START=$SECONDS
    printf '[%5s] %-40s' "$(minutes "$SECONDS")" "$STAGE" >&"$CONSOLE"
    printf '\n===== %s\n' "$STAGE" >> "$LOG_FILE"
    "$2" >> "$LOG_FILE" 2>&1
    printf ' %s\n' "$(minutes $((SECONDS - STAGE_START)))" >&"$CONSOLE"
    STAGE=
}

# hint LOG_FILE: the next step, as far as the log tells it.
hint() {
    local tail
    tail=$(tail -n 200 -- "$1" 2>/dev/null) || true
    case $tail in
        *'No space left on device'*)
            echo "free some space, or name a larger directory with --working-dir" ;;
        *'signed by unknown key'* | *'no keyring'* | *'NO_PUBKEY'*)
            echo "update the package debian-archive-keyring of this host: it signs the mirror's files" ;;
        *'Failed getting release file'* | *'Invalid Release file'* | *'does not have a Release file'* \
            | *"Couldn't download"* | *'Failed to fetch'* | *'Could not resolve'* \
            | *'Temporary failure resolving'* | *'Unable to connect'* | *'Could not connect'*)
            echo "check that this host reaches the mirrors; --mirror and --security-mirror name others" ;;
        *'Unable to locate package linux-image'* | *'no installation candidate'*)
            echo "the distribution has no such package; check the name given to --kernel" ;;
        *'THESE PACKAGES DO NOT MATCH THE HASHES'*)
            echo "the package index gave other files than requirements/build.txt names" ;;
        *'Could not find a version'* | *'No matching distribution'* | *'Max retries exceeded'*)
            echo "check that pip on this host reaches a package index (pip config list)" ;;
        *'cannot change root filesystem propagation'*)
            echo "this is a chroot whose root is no mount point: bind-mount it onto itself first" ;;
        *'Operation not permitted'*)
            echo "the build needs root with mount and chroot; a container needs CAP_SYS_ADMIN" ;;
        *)
            echo "the log tells more; --trace makes it tell everything" ;;
    esac
}

# report_failure STATUS: for the EXIT trap.
report_failure() {
    [[ -n $STAGE ]] || return 0
    printf '\n'
    printf '%s: stage "%s" failed after %s (exit status %s)\n' \
        "$PROGRAM" "$STAGE" "$(minutes $((SECONDS - STAGE_START)))" "$1"
    printf 'Last lines:\n'
    tail -n 15 -- "$LOG_FILE" | sed 's/^/    /'
    printf 'Log:  %s\nHint: %s\n' "$LOG_FILE" "$(hint "$LOG_FILE")"
} >&"$CONSOLE_ERRORS"
