# SPDX-License-Identifier: Apache-2.0
"""The packages `amphora_agent` (in the virtual machine) and `amphora_controller` (beside it)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "amphora_agent/__init__.py").read_text(), re.MULTILINE
)
assert VERSION is not None

setup(
    name="amphora",
    version=VERSION[1],
    description="The amphora of an OpenStack Octavia load balancer: image, agent, controller side",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["amphora_agent*", "amphora_controller*"]),
    # amphora_agent/templates is a link to templates/ at the top, so that one rule of package data
    # serves a checkout, an editable install and a wheel.
    package_data={"amphora_agent": ["py.typed", "templates/*.j2"]},
    include_package_data=False,
    # What the virtual machine needs. Images take these from the distribution; the exact versions
    # that are tested stand in requirements/.
    install_requires=[
        "flask>=2.3",
        "gunicorn>=20.1",
        "jinja2>=3.1",
        "msgspec>=0.18",
        "psutil>=5.9",
        "pyopenssl>=23",
        "pyroute2>=0.7.7,<0.10",
        "pyyaml>=6",
    ],
    # What a controller needs besides.
    extras_require={
        "controller": [
            "cryptography>=42",
            "openstacksdk>=3",
            "psycopg[binary]>=3.1",
            "pymysql>=1.1",
            "rich>=13",
            "typer>=0.29",
        ],
    },
    entry_points={
        "console_scripts": [
            "amphora-agent = amphora_agent.agent:main",
            "amphora-heartbeat = amphora_agent.heartbeat_sender:main",
            "amphora-interface = amphora_agent.interface_command:main",
            "amphora-log-offload = amphora_agent.log_offload:main",
            "amphora-prometheus = amphora_agent.prometheus_proxy:main",
            "amphora-provision = amphora_agent.provision:main",
            "amphoractl = amphora_controller.cli:main",
        ]
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3 :: Only",
    ],
)
