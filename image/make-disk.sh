#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes a bootable raw disk image of a root file system's tar file: GPT, GRUB for BIOS, ext4.
# Needs root, to give the files their owners, but neither loop devices nor mounts nor device-mapper.
#
#   make-disk.sh TAR DISK SIZE_GB WORK_DIR
#
# TAR is read, DISK is written (a sparse file), WORK_DIR takes the unpacked tree and is left to the
# caller to remove. SOURCE_DATE_EPOCH and AMPHORA_DISK_UUID fix the times and identifiers of an image
# that is to be the same in every build.

set -euo pipefail

readonly TAR=$1 DISK=$2 SIZE_GB=$3 WORK_DIR=$4

HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
readonly HERE
readonly GRUB_DIR=${AMPHORA_GRUB_DIR:-/usr/lib/grub/i386-pc}
readonly ROOT_LABEL=amphora-root

readonly SECTOR_BYTES=512
readonly SECTORS_PER_MIB=2048
# The boot loader's partition, then the root partition up to the last MiB, which holds the copy of
# the partition table.
readonly BOOT_FIRST_SECTOR=$SECTORS_PER_MIB
readonly BOOT_SECTORS=$SECTORS_PER_MIB
readonly ROOT_FIRST_SECTOR=$((2 * SECTORS_PER_MIB))
readonly ROOT_SECTORS=$((SIZE_GB * 1024 * SECTORS_PER_MIB - ROOT_FIRST_SECTOR - SECTORS_PER_MIB))

# "none" clears the host's defaults: newer mke2fs turns on features that GRUB 2.06 and older kernels
# refuse, and the image must not depend on the machine that builds it.
readonly EXT4_FEATURES=none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit\
,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum

# Everything the boot loader can need: the image holds no module files.
readonly GRUB_MODULES=(
    biosdisk boot configfile echo ext2 gzio halt linux ls minicmd normal part_gpt part_msdos
    reboot search search_fs_uuid search_label serial sleep terminal test
)

partition() {
    rm -f "$DISK"
    truncate --size="${SIZE_GB}G" "$DISK"
    sfdisk --quiet --no-reread --no-tell-kernel "$DISK" <<SFDISK
label: gpt
${AMPHORA_DISK_UUID:+label-id: $AMPHORA_DISK_UUID}
unit: sectors
start=$BOOT_FIRST_SECTOR, size=$BOOT_SECTORS, name="bios-boot", type=21686148-6449-6E6F-744E-656564454649
start=$ROOT_FIRST_SECTOR, size=$ROOT_SECTORS, name="amphora-root", type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
SFDISK
}

unpack() {
    mkdir -p "$WORK_DIR/root"
    tar --extract --file="$TAR" --directory="$WORK_DIR/root" --numeric-owner --preserve-permissions \
        --xattrs --xattrs-include='*'
    # Left out of the tar file, but needed as mount points.
    mkdir -p "$WORK_DIR/root/proc" "$WORK_DIR/root/sys"
    chmod 0755 "$WORK_DIR/root"
}

make_file_system() {
    local uuid_options=()
    if [[ -n ${AMPHORA_DISK_UUID:-} ]]; then
        uuid_options=(-U "$AMPHORA_DISK_UUID" -E "hash_seed=$AMPHORA_DISK_UUID")
    fi
    if [[ -n ${SOURCE_DATE_EPOCH:-} ]]; then
        export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
    fi
    # Inode tables are written here, not lazily: otherwise every amphora does it after its first boot.
    mke2fs -q -F -t ext4 -L "$ROOT_LABEL" -O "$EXT4_FEATURES" -b 4096 -I 256 -m 1 -J size=16 \
        "${uuid_options[@]}" \
        -E "offset=$((ROOT_FIRST_SECTOR * SECTOR_BYTES)),lazy_itable_init=0,lazy_journal_init=0" \
        -d "$WORK_DIR/root" "$DISK" "$((ROOT_SECTORS / 2))k"
    e2fsck -f -n "$DISK?offset=$((ROOT_FIRST_SECTOR * SECTOR_BYTES))" > "$WORK_DIR/e2fsck.log" 2>&1 || {
        cat "$WORK_DIR/e2fsck.log" >&2
        echo "make-disk: the new file system is damaged" >&2
        return 1
    }
    tail -n 1 "$WORK_DIR/e2fsck.log"
}

install_boot_loader() {
    grub-mkimage --format=i386-pc --directory="$GRUB_DIR" --prefix=/boot/grub \
        --config="$HERE/grub-early.cfg" --output="$WORK_DIR/core.img" "${GRUB_MODULES[@]}"
    python3 "$HERE/boot_sectors.py" --disk "$DISK" --boot-image "$GRUB_DIR/boot.img" \
        --core-image "$WORK_DIR/core.img" \
        --first-sector "$BOOT_FIRST_SECTOR" --sectors "$BOOT_SECTORS"
}

check_bootable() {
    local name
    for name in vmlinuz initrd.img boot/grub/grub.cfg; do
        if [[ ! -e $WORK_DIR/root/$name ]]; then
            echo "make-disk: the root file system has no /$name; which kernel was installed?" >&2
            return 1
        fi
    done
}

unpack
check_bootable
partition
make_file_system
install_boot_loader
