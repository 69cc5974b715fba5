# SPDX-License-Identifier: Apache-2.0
"""The label of the volume that a config drive is.

Sources of the formats: ECMA-119 and Microsoft's FAT specification.
"""

# Nova writes it in lower case; mkfs.vfat of some releases turns it into upper case.
VOLUME_LABEL = "config-2"
# The primary volume descriptor of ISO 9660 is the 2 KiB sector 16; FAT has its label in sector 0.
VOLUME_HEAD_BYTES = 17 * 2048


def volume_label(head: bytes) -> str | None:
    """The label of an ISO 9660 or FAT volume; None for anything else.

    Args:
        head: the first VOLUME_HEAD_BYTES of the device; a shorter device gives less.
    """
    if head[0x8000:0x8006] == b"\x01CD001":
        raw = head[0x8028:0x8048]
    elif head[0x52:0x57] == b"FAT32":
        raw = head[0x47:0x52]
    elif head[0x36:0x39] == b"FAT":
        raw = head[0x2B:0x36]
    else:
        return None
    return raw.decode("latin-1").rstrip("\0 ")
