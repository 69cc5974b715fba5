#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every test of the project. See test.sh --help.

set -euo pipefail

PROJECT_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
readonly PROJECT_DIR
readonly CACHE_DIR=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/amphora-test
readonly IMAGE=$PROJECT_DIR/amphora-x64-haproxy.qcow2
readonly VENV=$PROJECT_DIR/.venv

# shellcheck source=image/lib/messages.sh
source "$PROJECT_DIR/image/lib/messages.sh"
# shellcheck source=image/lib/mirrors.sh
source "$PROJECT_DIR/image/lib/mirrors.sh"
# shellcheck source=image/lib/host.sh
source "$PROJECT_DIR/image/lib/host.sh"
# shellcheck disable=SC2034  # read by messages.sh
PROGRAM=test.sh
FAST=no
FAILED=no
OPENSTACK=no

# As in image/lib/host.sh: what is needed|package of Debian and Ubuntu|package of Fedora.
readonly FAST_NEEDS='
dhcpcd|dhcpcd-base|dhcpcd
dnsmasq|dnsmasq-base|dnsmasq
faketime|faketime|libfaketime
haproxy|haproxy|haproxy
ip|iproute2|iproute
keepalived|keepalived|keepalived
mke2fs|e2fsprogs|e2fsprogs
mkfs.vfat|dosfstools|dosfstools
nc|netcat-openbsd|nmap-ncat
nft|nftables|nftables
openssl|openssl|openssl
ovs-vswitchd|openvswitch-switch|openvswitch
ping|iputils-ping|iputils
python_venv|python3-venv|python3
rsyslogd|rsyslog|rsyslog
shellcheck|shellcheck|ShellCheck
systemd-analyze|systemd|systemd
xorriso|xorriso|xorriso
'
readonly OPENSTACK_NEEDS='
debian_keyring|debian-archive-keyring|debian-keyring
debootstrap|debootstrap|debootstrap
flock|util-linux|util-linux-core
gpgv|gpgv|gnupg2
ip|iproute2|iproute
nft|nftables|nftables
nsenter|util-linux|util-linux-core
ovs-vswitchd|openvswitch-switch|openvswitch
python_venv|python3-venv|python3
shellcheck|shellcheck|ShellCheck
sudo|sudo|sudo
unshare|util-linux|util-linux-core
'
readonly IMAGE_NEEDS='
qemu-img|qemu-utils|qemu-img
qemu-system-x86_64|qemu-system-x86|qemu-system-x86-core
ssh|openssh-client|openssh-clients
systemd-nspawn|systemd-container|systemd-container
'

# What an image is made of; one that is older than any of these is built again.
readonly IMAGE_INPUTS=(
    amphora_agent amphora_controller build.sh elements image requirements/build.txt setup.py templates
)

show_help() {
    cat << 'HELP'
Usage: test.sh [OPTION]...

Run every test: checks of the code, unit tests, functional tests with the real
haproxy, the conformance suite of the API, and tests of the image in containers
and in QEMU, which is built first if an input of it has changed. What the host lacks is installed
where that is possible (Debian and Ubuntu, as root or with sudo); elsewhere the
tests that need it are skipped, and with CI=true they fail.

      --fast       leave out what needs an image, and what takes long
      --openstack  run only the tests that need a cloud: Keystone, Glance, Neutron
                   and Nova of Debian 13, in a root directory of their own (two
                   minutes and 1.6 GB when it is made; the host gets no package).
                   Not part of the other runs. Debian's mirrors as for build.sh.
  -h, --help       show this help
HELP
}

parse_options() {
    while (($#)); do
        case $1 in
            --fast) FAST=yes ;;
            --openstack) OPENSTACK=yes ;;
            -h | --help)
                show_help
                exit 0
                ;;
            *) die_usage "unknown option $1" ;;
        esac
        shift
    done
}

stage() {
    printf '\n[%5s] %s\n' "$(minutes "$SECONDS")" "$1"
}

# prepare_tools: a laptop without root goes on with what it has.
prepare_tools() {
    local needs=$BUILD_NEEDS$FAST_NEEDS log=$CACHE_DIR/tools.log
    if [[ $OPENSTACK == yes ]]; then
        needs=$OPENSTACK_NEEDS
    elif [[ $FAST == no ]]; then
        needs+=$IMAGE_NEEDS
    fi
    # Programs of the administrator are not on everybody's path.
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    if ! (install_needs "$needs") > "$log" 2>&1; then
        tail -n 5 "$log"
        [[ ${CI:-} != true ]] || die "with CI=true nothing may be missing; all of APT's output is in $log"
        printf 'The tests that need these are skipped.\n'
    fi
}

# pip_install VENV ARGUMENT...: says something only if it fails.
pip_install() {
    local venv=$1 log=$CACHE_DIR/pip.log
    shift
    "$venv/bin/python" -m pip install --disable-pip-version-check "$@" > "$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "pip failed; all of its output is in $log"
    }
}

# venv_for DIR LOCK: an environment with exactly what the lock says.
venv_for() {
    local directory=$1 lock=$2 key
    key=$({ "$PYTHON" --version; cat "$lock"; } | sha256sum)
    if [[ $(cat "$directory/.lock" 2> /dev/null) != "$key" ]]; then
        rm -rf -- "$directory"
        "$PYTHON" -m venv "$directory"
        pip_install "$directory" --require-hashes --requirement "$lock"
        printf '%s\n' "$key" > "$directory/.lock"
    fi
}

prepare_environments() {
    venv_for "$VENV" requirements/dev.txt
    pip_install "$VENV" --no-deps --no-build-isolation --no-index --editable .
    venv_for "$CACHE_DIR/venv-octavia" requirements/octavia.txt
    export AMPHORA_OCTAVIA_PYTHON=$CACHE_DIR/venv-octavia/bin/python
    PATH=$VENV/bin:$PATH
}

check_code() {
    ruff check .
    ruff format --check .
    mypy
    lint-imports
    shellcheck -x build.sh test.sh .ci/run image/*.sh tests/support/openstack/*.sh
}

build_image() {
    # Files only: Python's caches change the times of directories.
    if [[ -e $IMAGE && -z $(find "${IMAGE_INPUTS[@]}" -type f -newer "$IMAGE" -not -name '*.pyc' \
        -print -quit) ]]; then
        printf '%s is newer than all that it is made of\n' "${IMAGE##*/}"
    else
        ./build.sh --output "$IMAGE"
    fi
}

# make_cloud_root: does nothing if it is there and its script has not changed.
make_cloud_root() {
    # sudo keeps no variables.
    as_root env DIB_DISTRIBUTION_MIRROR="${DIB_DISTRIBUTION_MIRROR:-}" \
        DIB_DEBIAN_SECURITY_MIRROR="${DIB_DEBIAN_SECURITY_MIRROR:-}" \
        tests/support/openstack/make_root.sh "$CACHE_DIR/openstack-root" "$CACHE_DIR/openstack-root.log"
}

# run_tests OPTION... DIRECTORY...: tells of a failure at the end, so that other tests still run.
run_tests() {
    stage "tests: $*"
    pytest "$@" || FAILED=yes
}

# Files of tests side by side, two for each processor, as most of their time is waiting; in their order,
# because by the number of tests the slowest ones would be left for the end.
SIDE_BY_SIDE=(--numprocesses $(($(nproc) * 2)) --dist loadfile --no-loadscope-reorder)
readonly SIDE_BY_SIDE

main() {
    parse_options "$@"
    cd "$PROJECT_DIR"
    mkdir -p "$CACHE_DIR"
    stage 'tools of the host'
    prepare_tools
    stage 'Python environments'
    prepare_environments
    stage 'checks of the code'
    check_code
    if [[ $OPENSTACK == yes ]]; then
        stage 'programs of a cloud'
        make_cloud_root
        run_tests tests/openstack
    elif [[ $FAST == yes ]]; then
        run_tests "${SIDE_BY_SIDE[@]}" -m 'not slow' tests/unit tests/functional
    else
        stage 'image'
        build_image
        export AMPHORA_IMAGE=$IMAGE
        run_tests "${SIDE_BY_SIDE[@]}" tests/unit tests/functional tests/conformance
        # One virtual machine at a time: without KVM each needs a core.
        run_tests tests/container tests/image
    fi
    [[ $FAILED == no ]] || die 'tests failed; see above'
}

main "$@"
