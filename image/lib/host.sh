# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What a program needs of this host: all of it is checked before anything is done.

readonly GRUB_DIRS=(/usr/lib/grub/i386-pc /usr/share/grub2/i386-pc)
readonly DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
readonly DEBOOTSTRAP_SCRIPTS=/usr/share/debootstrap/scripts
readonly PYTHON=${PYTHON:-python3}
# diskimage-builder's own requirements need this much.
readonly PYTHON_MINIMUM=3.11
readonly NEEDED_MB=2500

# What is needed|package of Debian and Ubuntu|package of Fedora and Enterprise Linux.
# A name is that of a program, unless there is a function has_NAME.
readonly BUILD_NEEDS='
debootstrap|debootstrap|debootstrap
debian_keyring|debian-archive-keyring|debian-keyring
gpgv|gpgv|gnupg2
sudo|sudo|sudo
unshare|util-linux|util-linux
flock|util-linux|util-linux-core
ps|procps|procps-ng
tar|tar|tar
xz|xz-utils|xz
zstd|zstd|zstd
sfdisk|fdisk|util-linux
mke2fs|e2fsprogs|e2fsprogs
qemu-img|qemu-utils|qemu-img
grub_mkimage|grub-common|grub2-tools-minimal
grub_modules|grub-pc-bin|grub2-pc-modules
python_venv|python3-venv|python3
'

has_debian_keyring() {
    [[ -r $DEBIAN_KEYRING ]]
}

has_grub_mkimage() {
    command -v grub-mkimage > /dev/null || command -v grub2-mkimage > /dev/null
}

grub_dir() {
    local directory
    for directory in "${GRUB_DIRS[@]}"; do
        if [[ -r $directory/boot.img ]]; then
            printf '%s\n' "$directory"
            return
        fi
    done
    return 1
}

has_grub_modules() {
    grub_dir > /dev/null
}

# Debian splits ensurepip off, so that "python3 -m venv" alone proves nothing.
has_python_venv() {
    "$PYTHON" -c 'import ensurepip, venv' 2> /dev/null
}

# missing_packages FAMILY NEEDS: packages for what this host lacks, by their names in debian or fedora.
missing_packages() {
    local need debian fedora
    while IFS='|' read -r need debian fedora; do
        [[ -n $need ]] || continue
        if declare -F "has_$need" > /dev/null; then
            ! "has_$need" || continue
        elif command -v "$need" > /dev/null; then
            continue
        fi
        if [[ $1 == debian ]]; then
            printf '%s\n' "$debian"
        else
            printf '%s\n' "$fedora"
        fi
    done <<< "$2" | sort -u
}

# Runs a command as root. Without a terminal sudo must not ask for a password.
as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        sudo -- "$@"
    fi
}

can_be_root() {
    ((EUID == 0)) || sudo -n true 2> /dev/null || { [[ -t 0 ]] && sudo -v; }
}

# prepare_host: everything that the build needs.
prepare_host() {
    install_needs "$BUILD_NEEDS"
    check_python
    check_release_known
    check_space
    can_be_root || die "the build needs root for chroot and mount: run it as root, or as a user whom sudo lets run commands"
}

# install_needs NEEDS: installs what is missing, or says how to, and ends the program.
install_needs() {
    local family missing
    # Programs of the administrator are not on everybody's path.
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    family=" $(os_release / ID) $(os_release / ID_LIKE) "
    case $family in
        *' debian '* | *' ubuntu '*)
            mapfile -t missing < <(missing_packages debian "$1")
            ((${#missing[@]} == 0)) || install_debian_packages "$1" "${missing[@]}"
            ;;
        *)
            mapfile -t missing < <(missing_packages fedora "$1")
            ((${#missing[@]} == 0)) || die "this host lacks what is needed. Install it with
    dnf install ${missing[*]}
or with the packages of the same contents of your distribution"
            ;;
    esac
}

# install_debian_packages NEEDS PACKAGE...
install_debian_packages() {
    local needs=$1 still_missing
    shift
    if ! command -v sudo > /dev/null && ((EUID != 0)) || ! can_be_root; then
        die "this host lacks what is needed. Install it with
    sudo apt-get install --no-install-recommends $*"
    fi
    say ''
    say "        installs $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update
    # Offline, systemctl starts nothing: haproxy or rsyslog are wanted here as programs only.
    as_root env DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 \
        apt-get install --yes --no-install-recommends "$@"
    mapfile -t still_missing < <(missing_packages debian "$needs")
    if ((${#still_missing[@]})); then
        die "after the installation this host still lacks ${still_missing[*]}; is $PYTHON one of the distribution?"
    fi
}

check_python() {
    "$PYTHON" -c "import sys; sys.exit(sys.version_info < (${PYTHON_MINIMUM/./, }))" \
        || die "$("$PYTHON" --version) is too old for the build, which needs $PYTHON_MINIMUM;
install a newer one and name it: PYTHON=/path/to/python3 ./$PROGRAM"
}

# A debootstrap that is older than the release has no script of its name, but nothing has changed in
# these scripts for years: that of the development branch makes any newer release.
debootstrap_script() {
    local name
    for name in "$RELEASE" sid; do
        if [[ -e $DEBOOTSTRAP_SCRIPTS/$name ]]; then
            printf '%s/%s\n' "$DEBOOTSTRAP_SCRIPTS" "$name"
            return
        fi
    done
    return 1
}

check_release_known() {
    debootstrap_script > /dev/null || die "this host's debootstrap knows neither $RELEASE nor sid; update it"
}

check_space() {
    local directory free_mb
    for directory in "$WORKING_DIR" "$(dirname -- "$OUTPUT")"; do
        free_mb=$(df --output=avail --block-size=1M -- "$directory" | tail -n 1)
        ((free_mb >= NEEDED_MB)) || die "$directory has $((free_mb)) MB free, the build needs $NEEDED_MB MB"
    done
}
