#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes an amphora image for OpenStack Octavia. See build.sh --help.

set -euo pipefail
# Hints are found by what programs say.
export LC_ALL=C.UTF-8

PROJECT_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
readonly PROJECT_DIR
readonly CACHE_DIR=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/amphora-build

# shellcheck source=image/lib/messages.sh
source "$PROJECT_DIR/image/lib/messages.sh"
# shellcheck source=image/lib/options.sh
source "$PROJECT_DIR/image/lib/options.sh"
# shellcheck source=image/lib/mirrors.sh
source "$PROJECT_DIR/image/lib/mirrors.sh"
# shellcheck source=image/lib/host.sh
source "$PROJECT_DIR/image/lib/host.sh"
# shellcheck source=image/lib/run.sh
source "$PROJECT_DIR/image/lib/run.sh"
# shellcheck source=image/lib/dib.sh
source "$PROJECT_DIR/image/lib/dib.sh"

main() {
    parse_options "$@"
    check_options
    choose_mirrors /
    if [[ $DRY_RUN == yes ]]; then
        show_plan
        return
    fi
    trap on_exit EXIT
    trap 'on_signal SIGINT 130' INT
    trap 'on_signal SIGTERM 143' TERM
    trap 'on_signal SIGHUP 129' HUP
    lock_output
    : > "$LOG_FILE"
    make_work_dir
    say "Amphora of $DISTRIBUTION $RELEASE $ARCH; log: $LOG_FILE"
    run_stage 'host programs' prepare_host
    run_stage 'image builder' prepare_builder
    run_stage 'agent wheel' build_wheel
    run_stage 'root file system' build_root
    [[ $TYPE == tar ]] || run_stage 'disk' build_disk
    run_stage 'image file' write_output
    say "$(printf '[%5s] %s: %s MB, SHA-256 %s' "$(minutes "$SECONDS")" "$OUTPUT" \
        $(($(stat --format=%s -- "$OUTPUT") / 1000000)) "$(sha256sum < "$OUTPUT" | cut -d ' ' -f 1)")"
}

main "$@"
