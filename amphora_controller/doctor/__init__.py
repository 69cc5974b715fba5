# SPDX-License-Identifier: Apache-2.0
"""What is wrong between a controller and its amphorae, hop by hop.

`machine`, `tap`, `udp`, `questions` and `openstack_cloud` look at the world and give typed facts;
`jobs` lets them do so side by side. The other modules judge facts and do no I/O. `examination` puts
both together.
"""
