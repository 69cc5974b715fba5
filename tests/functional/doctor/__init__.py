# SPDX-License-Identifier: Apache-2.0
"""`amphoractl doctor` on a controller; the cloud's side is in tests/openstack/test_doctor.py."""
