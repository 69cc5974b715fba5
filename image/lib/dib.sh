# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# diskimage-builder: where it comes from, what it is told, and how it is run.

# choose_elements: sets ELEMENTS, in the order in which they are named to disk-image-create.
choose_elements() {
    ELEMENTS=("$DISTRIBUTION" amphora-base amphora-haproxy amphora-keepalived amphora-agent amphora-log)
    [[ $SSH == no ]] || ELEMENTS+=(amphora-ssh)
    [[ -z $ROOT_PASSWORD ]] || ELEMENTS+=(amphora-root-passwd)
}

# dib_environment WORK_DIR: all that disk-image-create gets, a line "NAME=value" each, sorted.
# Nothing is inherited: variables such as PIP_CERT or SSL_CERT_FILE would reach the chroot, where the
# files that they name do not exist.
dib_environment() {
    local bootstrap_args="--keyring=$DEBIAN_KEYRING --force-check-gpg" script name
    # The bootstrapped system could not verify the server of an https mirror otherwise.
    if [[ $MIRROR$SECURITY_MIRROR == *https:* ]]; then
        bootstrap_args+=' --include=ca-certificates'
    fi
    # Named although debootstrap would find it: diskimage-builder takes mmdebstrap, if the host has
    # that, unless it is given a script.
    script=$(debootstrap_script) || script=$DEBOOTSTRAP_SCRIPTS/$RELEASE
    {
        printf '%s\n' \
            "DIB_AMPHORA_AGENT_WHEEL=$1/wheel/amphora-$(project_version)-py3-none-any.whl" \
            "DIB_AMPHORA_KERNEL=$KERNEL" \
            "DIB_APT_MINIMAL_CREATE_INTERFACES=0" \
            "DIB_DEBIAN_DEBOOTSTRAP_SCRIPT=$script" \
            "DIB_DEBIAN_SECURITY_MIRROR=$SECURITY_MIRROR" \
            "DIB_DEBOOTSTRAP_EXTRA_ARGS=$bootstrap_args" \
            "DIB_DISTRIBUTION_MIRROR=$MIRROR" \
            "DIB_IMAGE_CACHE=$CACHE_DIR/dib" \
            "DIB_LOCKFILES=$CACHE_DIR/dib/lockfiles" \
            "DIB_RELEASE=$RELEASE" \
            "ELEMENTS_PATH=$PROJECT_DIR/elements" \
            "HOME=/root" \
            "LANG=C.UTF-8" \
            "PATH=$(venv_dir)/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
            "TMP_DIR=$1" \
            "USER=root"
        if [[ -n $ROOT_PASSWORD ]]; then
            printf '%s\n' "DIB_AMPHORA_ROOT_PASSWORD_FILE=$1/root-password"
        fi
        for name in http_proxy https_proxy no_proxy; do
            [[ -z ${!name:-} ]] || printf '%s\n' "$name=${!name}"
        done
    } | LC_ALL=C sort
}

# dib_command WORK_DIR: sets DIB_COMMAND.
dib_command() {
    DIB_COMMAND=(disk-image-create -n -a "$ARCH" -t tar -o "$1/root")
    [[ $TRACE == no ]] || DIB_COMMAND+=(-x)
    choose_elements
    DIB_COMMAND+=("${ELEMENTS[@]}")
}

# show_plan: for --dry-run, the same on every run with the same options and the same host.
show_plan() {
    local example=$WORKING_DIR/amphora-build.XXXXXXXX
    printf '# environment\n'
    dib_environment "$example"
    printf '# command\n'
    dib_command "$example"
    printf '%s\n' "${DIB_COMMAND[*]}"
    printf '# result\n%s (%s, %s GB)\n%s\n' "$OUTPUT" "$TYPE" "$SIZE_GB" "$LOG_FILE"
}

# venv_dir: where diskimage-builder is installed; another lock file or Python gives another place.
venv_dir() {
    local key
    key=$({ "$PYTHON" --version; cat "$PROJECT_DIR/requirements/build.txt"; } | sha256sum)
    printf '%s/venv-%s\n' "$CACHE_DIR" "${key:0:16}"
}

# prepare_builder: installs diskimage-builder, unless it is there from an earlier build.
prepare_builder() {
    local venv
    venv=$(venv_dir)
    mkdir -p "$CACHE_DIR"
    exec {BUILDER_LOCK}> "$CACHE_DIR/venv.lock"
    interruptible flock "$BUILDER_LOCK"
    if [[ ! -e $venv/.complete ]]; then
        rm -rf -- "$venv"
        interruptible "$PYTHON" -m venv "$venv"
        interruptible "$venv/bin/python" -m pip install --disable-pip-version-check --require-hashes \
            --requirement "$PROJECT_DIR/requirements/build.txt"
        touch "$venv/.complete"
    fi
    exec {BUILDER_LOCK}>&-
}

# build_wheel: the agent from this checkout. It is copied first, because setuptools writes beside the
# sources.
build_wheel() {
    local name
    mkdir "$WORK_DIR/source" "$WORK_DIR/wheel"
    for name in setup.py pyproject.toml README.md LICENSE amphora_agent amphora_controller templates; do
        cp -a -- "$PROJECT_DIR/$name" "$WORK_DIR/source/"
    done
    interruptible "$(venv_dir)/bin/python" -m pip wheel --disable-pip-version-check --no-deps \
        --no-build-isolation --no-index --wheel-dir "$WORK_DIR/wheel" "$WORK_DIR/source"
}

# build_root: the root file system as a tar file.
build_root() {
    local environment
    if [[ -n $ROOT_PASSWORD ]]; then
        (umask 077 && printf '%s\n' "$ROOT_PASSWORD" > "$WORK_DIR/root-password")
    fi
    mkdir -p "$CACHE_DIR/dib"
    # The packages' cache is one for all builds, and APT in one of them would find it locked.
    exec {DIB_LOCK}> "$CACHE_DIR/dib.lock"
    interruptible flock "$DIB_LOCK"
    mapfile -t environment < <(dib_environment "$WORK_DIR")
    dib_command "$WORK_DIR"
    printf '+ %s\n' "${environment[@]}" "${DIB_COMMAND[*]}"
    # In namespaces of its own the build leaves no mount and no process behind, however it ends.
    in_namespaces env -i "${environment[@]}" "${DIB_COMMAND[@]}"
    exec {DIB_LOCK}>&-
    as_root chown "$EUID" "$WORK_DIR/root.tar"
}

# build_disk: a raw disk image of the tar file.
build_disk() {
    local bash_options=()
    [[ $TRACE == no ]] || bash_options=(-x)
    in_namespaces env -i \
        PATH="$(venv_dir)/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        LANG=C.UTF-8 AMPHORA_GRUB_DIR="$(grub_dir)" \
        ${SOURCE_DATE_EPOCH:+SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH"} \
        ${AMPHORA_DISK_UUID:+AMPHORA_DISK_UUID="$AMPHORA_DISK_UUID"} \
        bash "${bash_options[@]}" "$PROJECT_DIR/image/make-disk.sh" \
        "$WORK_DIR/root.tar" "$WORK_DIR/disk.raw" "$SIZE_GB" "$WORK_DIR"
    as_root chown "$EUID" "$WORK_DIR/disk.raw"
}

# write_output: the image in its final format, under a temporary name beside the output, which it
# takes in one step.
write_output() {
    case $TYPE in
        # zlib, not zstd: on this image zstd saves 3 %, and QEMU before 5.1, which clouds of the
        # older releases run, cannot read it.
        qcow2) interruptible qemu-img convert -f raw -O qcow2 -c "$WORK_DIR/disk.raw" "$PARTIAL" ;;
        raw) interruptible cp --sparse=always -- "$WORK_DIR/disk.raw" "$PARTIAL" ;;
        vhd) interruptible qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on \
            "$WORK_DIR/disk.raw" "$PARTIAL" ;;
        tar) interruptible cp -- "$WORK_DIR/root.tar" "$PARTIAL" ;;
    esac
    sync -- "$PARTIAL"
    mv -f -- "$PARTIAL" "$OUTPUT"
    sync -- "$(dirname -- "$OUTPUT")"
}
