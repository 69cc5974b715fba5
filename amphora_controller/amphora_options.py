# SPDX-License-Identifier: Apache-2.0
"""What the commands on amphorae have in common: options, who is asked, how it is told."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from amphora_controller.amphora.client import Amphora
from amphora_controller.certificates.store import Store
from amphora_controller.errors import ControllerError

DIRECTORY = Path("/etc/octavia/certs")

AddressArgument = Annotated[str, typer.Argument(help="Its address on the management network.")]
AddressesArgument = Annotated[
    list[str] | None, typer.Argument(help="Their addresses on the management network.")
]
OfOption = Annotated[
    str | None,
    typer.Option("--of", help="Instead: all amphorae of this load balancer, by Octavia's API."),
]
IdOption = Annotated[
    str | None, typer.Option("--id", help="The amphora's UUID; its certificate must name it.")
]
DirectoryOption = Annotated[
    Path, typer.Option("--directory", "-d", help="Where the controllers' certificates lie.")
]
PortOption = Annotated[int, typer.Option(min=1, max=65535)]
TimeoutOption = Annotated[float, typer.Option(min=0.1, help="Seconds for each step.")]
LoadBalancerOption = Annotated[
    str | None,
    typer.Option("--load-balancer", help="Its UUID, where an amphora has more than one."),
]
CloudOption = Annotated[
    str | None,
    typer.Option("--os-cloud", help="Its name in clouds.yaml; else the OS_* variables tell."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """How amphorae are asked: with whose files, at which port, and how long at most for a step."""

    directory: Path
    port: int
    timeout_s: float

    def one(self, address: str, amphora_id: str | None = None) -> Amphora:
        """The amphora at an address; with an id, no other one is taken for it."""
        store = Store(directory=self.directory)
        return Amphora(
            address=address,
            port=self.port,
            trust=store.server_chain,
            identity=store.client_bundle,
            amphora_id=amphora_id,
            timeout_s=self.timeout_s,
        )

    def several(
        self,
        addresses: Sequence[str] | None,
        amphora_id: str | None = None,
        *,
        of: str | None = None,
        cloud: str | None = None,
    ) -> list[Amphora]:
        """Amphorae at addresses, each once, or those of a load balancer.

        Raises:
            ControllerError: nobody was named, or in two ways, or Octavia does not tell.
        """
        if bool(addresses) == (of is not None):
            raise ControllerError(
                "which amphorae?", "addresses, or --of with the UUID of a load balancer"
            )
        found = list(dict.fromkeys(addresses or []))
        if amphora_id is not None and len(found) != 1:
            raise ControllerError("--id is that of one amphora", "give one address, or no --id")
        if of is not None:
            return self._of(of, cloud)
        return [self.one(address, amphora_id) for address in found]

    def _of(self, load_balancer_id: str, cloud: str | None) -> list[Amphora]:
        # openstacksdk takes longer to load than an amphora to answer, and addresses need none.
        from amphora_controller.fleet.octavia import connected  # noqa: PLC0415

        with connected(cloud) as octavia:
            found = octavia.amphorae(load_balancer_id)
        if not found:
            raise ControllerError(
                f"load balancer {load_balancer_id} has no amphorae",
                "`openstack loadbalancer list` has the ids",
            )
        return [self.one(known.address, known.id) for known in found]


def in_turn(
    asked: Sequence[Amphora],
    do: Callable[[Amphora], Row],
    show: Callable[[Row], str],
    *,
    as_json: bool,
) -> None:
    """Do something to one amphora after the other, up to the first one that fails.

    Args:
        do: what is told of it afterwards.
        show: the same for people.
        as_json: print a list of what was done, each with the `address`, also after a failure.

    Raises:
        ControllerError: one has failed, which is named, and so are those that were not tried.
    """
    rows: list[Row] = []
    try:
        for index, one in enumerate(asked):
            try:
                row = {"address": one.address, **do(one)}
            except ControllerError as exc:
                raise _with_place(exc, asked, index) from exc
            rows.append(row)
            if not as_json:
                typer.echo(show(row), nl=False)
    finally:
        if as_json:
            typer.echo(json.dumps(rows, indent=1))


def _with_place(exc: ControllerError, asked: Sequence[Amphora], index: int) -> ControllerError:
    rest = ", ".join(one.address for one in asked[index + 1 :])
    hint = "\n  ".join(part for part in (exc.hint, rest and f"not tried: {rest}") if part)
    return ControllerError(f"{asked[index].address}: {exc.message}", hint)
