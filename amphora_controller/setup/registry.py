# SPDX-License-Identifier: Apache-2.0
"""All steps, in the order in which they build on each other."""

from collections.abc import Sequence

from amphora_controller.errors import ControllerError
from amphora_controller.setup.certs import CertsStep
from amphora_controller.setup.config import ConfigStep
from amphora_controller.setup.context import Context
from amphora_controller.setup.db import DbStep
from amphora_controller.setup.flavor import FlavorStep
from amphora_controller.setup.hm_port import HmPortStep
from amphora_controller.setup.image import ImageStep
from amphora_controller.setup.keypair import KeypairStep
from amphora_controller.setup.keystone import KeystoneStep
from amphora_controller.setup.network import NetworkStep
from amphora_controller.setup.services import ServicesStep
from amphora_controller.setup.steps import Step
from amphora_controller.setup.verify import VerifyStep


def all_steps(context: Context) -> tuple[Step, ...]:
    """Every step; making one asks nothing yet."""
    return (
        DbStep(context),
        KeystoneStep(context),
        CertsStep(context),
        ImageStep(context),
        KeypairStep(context),
        FlavorStep(context),
        NetworkStep(context),
        HmPortStep(context),
        ConfigStep(context),
        ServicesStep(context),
        VerifyStep(context),
    )


def chosen(steps: Sequence[Step], names: Sequence[str]) -> list[Step]:
    """The steps of these names, in their own order; all of them where no name is given.

    Raises:
        ControllerError: there is no such step.
    """
    known = [step.name for step in steps]
    for name in names:
        if name not in known:
            raise ControllerError(f"there is no step {name}", f"steps are {', '.join(known)}")
    return [step for step in steps if not names or step.name in names]
