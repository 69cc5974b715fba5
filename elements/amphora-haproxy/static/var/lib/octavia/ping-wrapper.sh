#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# haproxy's external check of PING health monitors: one echo request, one second. haproxy gives the
# member's address in HAPROXY_SERVER_ADDR and takes the exit status as the answer.
set -eu

case "${HAPROXY_SERVER_ADDR}" in
    *:*) family=-6 ;;
    *) family=-4 ;;
esac

exec /usr/bin/ping "${family}" -q -n -w 1 -c 1 "${HAPROXY_SERVER_ADDR}" > /dev/null 2>&1
