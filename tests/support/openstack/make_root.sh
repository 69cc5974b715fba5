#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes a root directory with the programs of a small cloud, as root: Debian's Keystone, Glance, Neutron
# and Nova, MariaDB and memcached, their empty databases, and PostgreSQL. The host itself gets no package: these
# would start their services at its next boot. Nothing changes the directory afterwards; each cloud
# lays what it writes over it. See tests/openstack/__init__.py.

set -euo pipefail
export LC_ALL=C.UTF-8

readonly RELEASE=trixie
readonly PACKAGES=(
    glance-api keystone mariadb-server memcached neutron-api neutron-plugin-ml2 nova-api postgresql
)
# The account of the services, and one that may do all, as an operator has it.
readonly ACCOUNTS="
CREATE USER openstack@'%' IDENTIFIED BY 'openstack-secret';
CREATE USER operator@'%' IDENTIFIED BY 'operator-secret';
GRANT ALL ON *.* TO operator@'%' WITH GRANT OPTION;
"
readonly DATABASES=(glance keystone neutron nova nova_api)

HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
readonly HERE

# shellcheck source=image/lib/messages.sh
source "$HERE/../../../image/lib/messages.sh"
# shellcheck source=image/lib/mirrors.sh
source "$HERE/../../../image/lib/mirrors.sh"
# shellcheck source=image/lib/host.sh
source "$HERE/../../../image/lib/host.sh"
# shellcheck disable=SC2034  # read by messages.sh
PROGRAM=make_root.sh

# As build.sh takes them, or those of the host.
find_mirrors() {
    local found
    mapfile -t found < <(host_mirrors /)
    MIRROR=${DIB_DISTRIBUTION_MIRROR:-${found[0]}}
    SECURITY_MIRROR=${DIB_DEBIAN_SECURITY_MIRROR:-${found[1]}}
    [[ -n $MIRROR && -n $SECURITY_MIRROR ]] || die "this host's APT configuration names no Debian
mirror; set DIB_DISTRIBUTION_MIRROR and DIB_DEBIAN_SECURITY_MIRROR to URLs"
}

# inside COMMAND...: in the new root.
inside() {
    env DEBIAN_FRONTEND=noninteractive chroot "$ROOT" "$@"
}

make_base() {
    debootstrap --variant=minbase --include=ca-certificates,openssl "$RELEASE" "$ROOT" \
        "$MIRROR" "$(debootstrap_script)"
    mount -t proc proc "$ROOT/proc"
    mount -t tmpfs tmpfs "$ROOT/run"
    printf 'deb %s main\n' "$MIRROR $RELEASE" "$MIRROR $RELEASE-updates" \
        "$SECURITY_MIRROR $RELEASE-security" > "$ROOT/etc/apt/sources.list"
    # Policy 9.3.3: no service is to be started.
    printf '#!/bin/sh\nexit 101\n' > "$ROOT/usr/sbin/policy-rc.d"
    chmod 0755 "$ROOT/usr/sbin/policy-rc.d"
}

install_packages() {
    inside apt-get update
    inside apt-get install --yes --no-install-recommends -o Dpkg::Options::=--force-unsafe-io \
        "${PACKAGES[@]}"
    inside apt-get clean
    rm -rf -- "$ROOT"/usr/share/{doc,man,locale} "$ROOT"/var/lib/apt/lists
}

# Half a minute of migrations, once for all clouds.
make_databases() {
    local server name
    install -d -o "$(inside id -u mysql)" "$ROOT/run/mysqld"
    inside mariadbd --user=mysql --skip-networking &
    server=$!
    inside mariadb-admin --wait=60 --connect-timeout=2 ping
    {
        printf '%s' "$ACCOUNTS"
        for name in "${DATABASES[@]}"; do
            printf 'CREATE DATABASE %s; GRANT ALL ON %s.* TO openstack@"%%";\n' "$name" "$name"
        done
    } | inside mariadb
    for name in "${DATABASES[@]}"; do
        printf '[database]\nconnection = mysql+pymysql://%s/%s?unix_socket=%s\n' \
            openstack:openstack-secret@localhost "$name" /run/mysqld/mysqld.sock \
            > "$ROOT/run/$name.conf"
    done
    sed 's/^\[database\]/[api_database]/' "$ROOT/run/nova_api.conf" >> "$ROOT/run/nova.conf"
    inside keystone-manage --config-file /run/keystone.conf db_sync
    inside glance-manage --config-file /run/glance.conf db_sync
    inside neutron-db-manage --config-file /run/neutron.conf upgrade heads
    inside nova-manage --config-file /run/nova.conf api_db sync
    inside nova-manage --config-file /run/nova.conf db sync --local_cell
    inside mariadb-admin shutdown
    wait "$server"
}

main() {
    (($# == 2)) || die 'usage: make_root.sh DIRECTORY LOG' 2
    LOG_FILE=$2
    local stamp
    stamp=$(sha256sum < "${BASH_SOURCE[0]}")
    # Two that make the same would overwrite each other.
    exec {LOCK}> "$1.lock"
    flock "$LOCK"
    [[ $(cat "$1/.made-by" 2> /dev/null) != "$stamp" ]] || return 0
    find_mirrors
    : > "$LOG_FILE"
    trap 'report_failure $?' EXIT
    ROOT=$1.new
    rm -rf -- "$1" "$ROOT"
    run_stage "Debian $RELEASE" make_base
    run_stage 'packages of OpenStack' install_packages
    run_stage 'databases' make_databases
    umount "$ROOT/proc" "$ROOT/run"
    printf '%s\n' "$stamp" > "$ROOT/.made-by"
    mv -- "$ROOT" "$1"
}

# Mounts and processes of its own: all end when this one does.
if [[ ${MAKE_ROOT_INSIDE:-} != yes ]]; then
    export MAKE_ROOT_INSIDE=yes
    exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc -- "$0" "$@"
fi
main "$@"
