# SPDX-License-Identifier: Apache-2.0
"""Requests at random, of every kind that writes, and what each leaves on the disk."""

import random
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from tests.functional.conftest import Place
from tests.functional.haproxy_configs import listener_config
from tests.functional.keepalived_configs import lvs_config, vrrp_config

LBS = tuple(str(uuid.UUID(int=number, version=4)) for number in (1, 2, 3))
LISTENERS = tuple(str(uuid.UUID(int=number, version=4)) for number in (4, 5))
CERTIFICATES = (f"{'a1' * 20}.pem", f"{'b2' * 20}.pem")
# Of the NIC that VRRP configurations name.
ADDRESS = "198.51.100.4"

Content = bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request, and which files it leaves how.

    Attributes:
        writes: contents of files after success; None for those that are gone then.
        needs: a file without which it fails, and may.
    """

    method: str
    path: str
    body: bytes = b""
    writes: dict[Path, Content] = field(default_factory=dict)
    needs: Path | None = None


class Requests:
    """Makes requests at random."""

    def __init__(self, place: Place, dice: random.Random) -> None:
        self._place = place
        self._dice = dice
        self._pems = [place.pki.amphora_pem(place.amphora_id) for _ in range(3)]
        self._config = place.config_file.read_bytes()

    def some(self) -> list[Request]:
        """A short sequence."""
        kinds = (
            *((self.upload, 5), (self._action, 4), (self.certificate, 6), (self._forget, 2)),
            *((self._delete, 2), (self._server_pem, 1), (self._agent_config, 1)),
            *((self.lvs_upload, 2), (self._lvs_action, 1), (self._lvs_delete, 1)),
            *((self.vrrp_upload, 1), (self._vrrp_action, 1)),
        )
        chosen = self._dice.choices(
            [kind for kind, _weight in kinds],
            [weight for _kind, weight in kinds],
            k=self._dice.randint(1, 4),
        )
        return [kind() for kind in chosen]

    def removal(self) -> list[Request]:
        """Removes all load balancers and listeners; VRRP, which has no removal, is stopped."""
        return [
            *(self._delete(lb_id) for lb_id in LBS),
            *(self._lvs_delete(listener_id) for listener_id in LISTENERS),
            Request(method="PUT", path="/1.0/vrrp/stop"),
        ]

    def upload(self) -> Request:
        lb_id = self._dice.choice(LBS)
        owner = self._dice.choice(("1.0/loadbalancer", "0.5/listeners"))
        path = f"/{owner}/{self._place.amphora_id}/{lb_id}/haproxy"
        if self._dice.random() < 0.2:
            return Request(method="PUT", path=path, body=b"nonsense\n")
        config = listener_config(self._place.base, lb_id, vip="127.0.0.1", ports={"one": 8081})
        port = 8000 + 10 * LBS.index(lb_id) + self._dice.randrange(10)
        config = config.replace(b":80\n", b":%d\n" % port) + self._filler()
        file = self._place.base / lb_id / "haproxy.cfg"
        return Request(method="PUT", path=path, body=config, writes={file: config})

    def _action(self) -> Request:
        action = self._dice.choice(("start", "stop", "reload"))
        return Request(method="PUT", path=f"/1.0/loadbalancer/{self._dice.choice(LBS)}/{action}")

    def certificate(self) -> Request:
        path, file = self._certificate_place()
        content = self._dice.choice(self._pems) + self._filler()
        return Request(method="PUT", path=path, body=content, writes={file: content})

    def _forget(self) -> Request:
        path, file = self._certificate_place()
        return Request(method="DELETE", path=path, writes={file: None})

    def _delete(self, lb_id: str | None = None) -> Request:
        lb_id = lb_id or self._dice.choice(LBS)
        files = [self._place.base / lb_id / "haproxy.cfg"]
        files += [self._place.base / "certs" / lb_id / name for name in CERTIFICATES]
        return Request(method="DELETE", path=f"/1.0/listeners/{lb_id}", writes=dict.fromkeys(files))

    def lvs_upload(self) -> Request:
        listener_id = self._dice.choice(LISTENERS)
        path = f"/1.0/listeners/{self._place.amphora_id}/{listener_id}/udp_listener"
        # Without a pool, which the kernel of a build machine may not be able to serve.
        config = lvs_config(self._place.inner.name, listener_id) + self._filler()
        file = lvs_file(self._place, listener_id)
        return self._keepalived_upload(path, config, file)

    def _lvs_action(self) -> Request:
        action = self._dice.choice(("start", "stop", "reload"))
        return Request(
            method="PUT", path=f"/1.0/loadbalancer/{self._dice.choice(LISTENERS)}/{action}"
        )

    def _lvs_delete(self, listener_id: str | None = None) -> Request:
        listener_id = listener_id or self._dice.choice(LISTENERS)
        file = lvs_file(self._place, listener_id)
        return Request(method="DELETE", path=f"/1.0/listeners/{listener_id}", writes={file: None})

    def vrrp_upload(self) -> Request:
        config = vrrp_config(
            self._place.base, interface="eth1", address=ADDRESS, vip="198.51.100.9"
        )
        file = vrrp_file(self._place)
        return self._keepalived_upload("/1.0/vrrp/upload", config + self._filler(), file)

    def _vrrp_action(self) -> Request:
        # Stopping takes keepalived a second, so that there is one stop only now and then.
        action = self._dice.choice(("start", "start", "reload", "reload", "stop"))
        return Request(method="PUT", path=f"/1.0/vrrp/{action}", needs=vrrp_file(self._place))

    def _keepalived_upload(self, path: str, config: bytes, file: Path) -> Request:
        if self._dice.random() < 0.2:
            return Request(method="PUT", path=path, body=config + b"nonsense\n")
        return Request(method="PUT", path=path, body=config, writes={file: config})

    def _server_pem(self) -> Request:
        pem = self._dice.choice(self._pems)
        file = self._place.server_pem
        return Request(method="PUT", path="/1.0/certificate", body=pem, writes={file: pem})

    def _agent_config(self) -> Request:
        content = self._config + self._filler()
        file = self._place.config_file
        return Request(method="PUT", path="/1.0/config", body=content, writes={file: content})

    def _certificate_place(self) -> tuple[str, Path]:
        lb_id, name = self._dice.choice(LBS), self._dice.choice(CERTIFICATES)
        path = f"/1.0/loadbalancer/{lb_id}/certificates/{name}"
        return path, self._place.base / "certs" / lb_id / name

    def _filler(self) -> bytes:
        """A comment that makes contents differ, sometimes a long one."""
        return b"# %d\n" % self._dice.randrange(10**6) * self._dice.choice((1, 1, 1, 5000))


def lvs_file(place: Place, listener_id: str) -> Path:
    """The configuration of a UDP listener."""
    return place.base / f"lvs/octavia-keepalivedlvs-{listener_id}.conf"


def vrrp_file(place: Place) -> Path:
    """The VRRP configuration."""
    return place.base / "vrrp/octavia-keepalived.conf"
