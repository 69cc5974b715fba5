# SPDX-License-Identifier: Apache-2.0
"""Configurations of keepalived like those that Octavia renders."""

from pathlib import Path


def lvs_config(netns: str, listener_id: str, *, member: str | None = None) -> bytes:
    """A UDP listener; without a member it has no pool, and needs nothing of the kernel."""
    text = f"# Configuration for Listener {listener_id}\n\nnet_namespace {netns}\n"
    if member:
        text += f"""
virtual_server_group ipv4-group {{
    198.51.100.9 53
}}

virtual_server group ipv4-group {{
    lb_algo wrr
    lb_kind NAT
    protocol UDP
    # Configuration for Pool 33333333-3333-4333-8333-333333333333
    # Configuration for Member 44444444-4444-4444-8444-444444444444
    real_server {member} 53 {{
        weight 1
    }}
}}
"""
    return text.encode()


def vrrp_config(base: Path, *, interface: str, address: str, vip: str) -> bytes:
    """One amphora of a pair whose peer is not there yet."""
    return f"""vrrp_script check_script {{
  script {base}/vrrp/check_script.sh
  interval 5
  fall 2
  rise 2
}}

vrrp_instance 4e43f3c7c0f644c78dabe2fc8ed16e0f {{
  interface {interface}
  virtual_router_id 1
  priority 100
  nopreempt
  accept
  garp_master_refresh 5
  garp_master_refresh_repeat 2
  advert_int 1
  authentication {{
    auth_type PASS
    auth_pass ee46125
  }}

  unicast_src_ip {address}
  unicast_peer {{
  }}

  virtual_ipaddress {{
    {vip}
  }}

  virtual_ipaddress_excluded {{
  }}

  track_script {{
    check_script
  }}
}}
""".encode()
