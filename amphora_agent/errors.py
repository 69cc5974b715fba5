# SPDX-License-Identifier: Apache-2.0
"""The error tree of the agent.

Only status codes that an Octavia controller understands are used (400, 401, 403, 404, 405, 409,
500, 503): it takes any other code on a write as success.
"""

from typing import ClassVar


class AgentError(Exception):
    """Something the agent refuses or cannot do.

    Attributes:
        message: what failed, in one short line.
        details: what to look at or do next; often a program's own output.
        http_status: the code of the API's answer.
    """

    http_status: ClassVar[int] = 500

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message, details)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return f"{self.message}: {self.details}" if self.details else self.message


class InvalidRequest(AgentError):
    """What was asked for cannot be right, whatever the state of the amphora."""

    http_status = 400


class MalformedRequest(InvalidRequest):
    """The body is not what the endpoint takes; answered in the shape of the web framework."""


class NotFound(AgentError):
    """The resource named in the request does not exist."""

    http_status = 404


class Conflict(AgentError):
    """The resource exists already, or is in a state that forbids the request."""

    http_status = 409


class ConfigError(AgentError):
    """A configuration file is missing, unreadable or wrong."""


class ParseError(AgentError):
    """Text from a program or a file does not have the format it should have."""


class Refused(AgentError):
    """A program does not take a configuration; the details are its own words.

    Attributes:
        faults: paths in the document that it was rendered from, with the reasons; empty where they
            are not known.
    """

    def __init__(
        self, message: str, details: str, faults: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message, details)
        self.faults = faults


class CommandFailed(AgentError):
    """A program ended with an error, could not be started, or ran out of time.

    Attributes:
        returncode: exit status; negative for a signal; None when it did not end by itself.
        output: standard output and standard error, as one text.
    """

    def __init__(self, message: str, *, returncode: int | None, output: str) -> None:
        super().__init__(message, output)
        self.returncode = returncode
        self.output = output


class StepFailed(AgentError):
    """A change of a load balancer did not get to its end, and was undone.

    Attributes:
        step: what failed, as an operator would call it.
        refused: the new configuration was refused before anything had changed.
        restored: the state before serves again; False when undoing it failed, too.
        faults: see Refused.
    """

    def __init__(
        self,
        step: str,
        details: str,
        *,
        refused: bool,
        restored: bool,
        faults: tuple[tuple[str, str], ...] = (),
    ) -> None:
        if refused:
            outcome = "nothing has changed"
        elif restored:
            outcome = "everything is as before"
        else:
            outcome = "not everything could be put back; the agent tries again at its next start"
        super().__init__(f"Could not {step}: {outcome}", details)
        self.step = step
        self.refused = refused
        self.restored = restored
        self.faults = faults


class Problem(AgentError):
    """What only API 2.0 tells, whose clients know every status code.

    Attributes:
        code: stable name, for programs.
    """

    code: ClassVar[str]


class PreconditionFailed(Problem):
    """The load balancer is not in the state that the request was made for."""

    code = "precondition_failed"
    http_status = 412


class CertificateGone(Problem):
    """The content of a certificate that is meant is not in the amphora."""

    code = "certificate_gone"
    http_status = 409


class ManagedElsewhere(Problem):
    """The load balancer came by API 1.0."""

    code = "managed_by_1_0"
    http_status = 409


class WrongAmphora(Problem):
    """The document is right, but not for the amphora as it was made and plugged."""

    code = "wrong_amphora"
    http_status = 409
