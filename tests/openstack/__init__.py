# SPDX-License-Identifier: Apache-2.0
"""What amphoractl does to a cloud, by a real one: Keystone, Glance, Neutron and Nova's API.

`./test.sh --openstack` makes their root directory (Debian 13, two minutes, 1.6 GB in the cache) and
runs these tests. Each run starts a cloud of its own in a network namespace, in about 15 seconds.

By hand, as root, to try things out:

    python -m tests.support.openstack DIRECTORY

runs one until Ctrl-C and prints how to use it: `export OS_CLIENT_CONFIG_FILE=… OS_CLOUD=lab`, and
`ip netns exec NAME` before each command, since only that namespace has the cloud's addresses
(127.0.0.1, the usual ports). Entries of clouds.yaml are `lab` (administrator), `lab-member` (member
of one project, no rights beyond) and `lab-full` (administrator whose project has no quota left).
DIRECTORY/logs has what each service prints. The database server's own administrator is
`operator:operator-secret@127.0.0.1:3306`.

No agent and no compute node runs: a port stays down, and no server can be made.
"""
