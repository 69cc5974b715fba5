# SPDX-License-Identifier: Apache-2.0
"""Templates of files for the controller; none of them is HTML, and each caller escapes its own."""

import jinja2


def template(name: str) -> jinja2.Template:
    """One of templates/, which the package of the amphora brings with it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("amphora_agent"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # see above
    )
    return environment.get_template(name)
