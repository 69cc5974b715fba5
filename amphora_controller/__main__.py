# SPDX-License-Identifier: Apache-2.0
"""`python -m amphora_controller` is amphoractl."""

import sys

from amphora_controller.cli import main

sys.exit(main())
