# SPDX-License-Identifier: Apache-2.0
"""What openstacksdk raises, as an operator can use it: what failed, and the next step."""

from keystoneauth1 import exceptions as auth
from openstack import exceptions as sdk

from amphora_controller.errors import ControllerError

# What a call to a cloud may raise.
ERRORS = (sdk.SDKException, auth.ClientException)

# Neutron answers a full quota with 409, Nova with 403, Glance with 413.
_QUOTA_WORDS = ("quota", "over limit")
_CREDENTIALS = (
    "set OS_CLOUD or --os-cloud to an entry of clouds.yaml, or the variables OS_AUTH_URL, "
    "OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME"
)
_CATALOGUE = (
    "the service is not in the catalogue of this region: openstack catalog list; or clouds.yaml "
    "has another region_name or interface"
)
_PASSWORD = "look at the password, and at the domain and project"  # noqa: S105
_REACH = "look whether the service runs and is reached from this host; run again then"
_REQUEST = "openstack --debug, with the same credentials, shows requests and answers"


def explained(exc: Exception, doing: str, otherwise: str = _REQUEST) -> ControllerError:
    """An error of ERRORS for people.

    Args:
        doing: what was being done: "create network lb-mgmt-net".
        otherwise: the next step where the error tells none.
    """
    if isinstance(exc, sdk.HttpException) and exc.status_code is not None:
        return _answered(exc, exc.status_code, doing, otherwise)
    return ControllerError(f"{doing}: {_one_line(str(exc))}", _next_step(exc, otherwise))


def _next_step(exc: Exception, otherwise: str) -> str:
    if isinstance(exc, sdk.ServiceDisabledException):
        # Raised for whatever kept openstacksdk from the service, which only its text tells apart.
        return _CATALOGUE if "catalog" in str(exc) else _REACH
    if isinstance(exc, auth.EndpointNotFound | sdk.EndpointNotFound):
        return _CATALOGUE
    if isinstance(exc, auth.ConnectionError | auth.DiscoveryFailure):
        return _REACH
    if isinstance(exc, auth.Unauthorized):
        return _PASSWORD
    if isinstance(exc, sdk.ConfigException | auth.MissingRequiredOptions | auth.NoMatchingPlugin):
        return _CREDENTIALS
    return otherwise


def _answered(exc: sdk.HttpException, status: int, doing: str, otherwise: str) -> ControllerError:
    said = _one_line(str(exc.details or exc.message or exc))
    message = f"{doing}: {said} (HTTP {status})"
    if status == 413 or (
        status in {403, 409} and any(word in said.lower() for word in _QUOTA_WORDS)
    ):
        hint = "no quota is left: raise it with openstack quota set (images: openstack limit set)"
    elif status == 401:
        hint = _PASSWORD
    elif status == 403:
        hint = (
            "these credentials lack a right: use those of an administrator (--os-cloud, OS_CLOUD)"
        )
    elif status == 409:
        hint = "something is in the way: see what the service says; run again when it is gone"
    elif status == 404:
        hint = "it was removed meanwhile: run again"
    elif status >= 500:
        hint = "the service failed: look at its log; run again then"
    else:
        hint = otherwise
    return ControllerError(message, hint)


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "no reason was given"
