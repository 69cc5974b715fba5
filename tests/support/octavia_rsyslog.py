# SPDX-License-Identifier: Apache-2.0
"""Prints what Octavia renders as 10-rsyslog.conf, by its options; in Octavia's environment only.

The argument is a list of options of [amphora_agent] in JSON; the output a list of texts.
"""
# Octavia is not installed where types are checked.
# mypy: disable-error-code="import-not-found"

import json
import logging
import sys

from octavia.common import config
from octavia.common.jinja.logging import logging_jinja_cfg


def main() -> None:
    """Render for every set of options."""
    logging.disable(logging.CRITICAL)
    config.init(["--config-file", "/dev/null"])
    texts = []
    for options in json.loads(sys.argv[1]):
        for name, value in options.items():
            config.cfg.CONF.set_override(name, value, "amphora_agent")
        override = config.cfg.CONF.amphora_agent.logging_template_override
        templater = logging_jinja_cfg.LoggingJinjaTemplater(override)
        texts.append(templater.build_logging_config())
    print(json.dumps(texts))


if __name__ == "__main__":
    main()
