#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# lvs-masquerade.sh add|delete ipv4|ipv6 INTERFACE [sriov]
#
# What the agent does for UDP and SCTP listeners when it plugs a NIC, by hand and in the network
# namespace of the caller: UDP and SCTP that leave INTERFACE are masqueraded, and TCP on it is not
# tracked, unless its NIC is a virtual function (sriov). Doing it twice changes nothing more.
set -eu

# The whole text first, so that nft is never given a part of it, and nothing after a wrong argument.
# -P: no module is looked for in the directory of the caller.
rules=$(python3 -P -m amphora_agent.masquerade "$@")
printf '%s\n' "${rules}" | nft -f -
