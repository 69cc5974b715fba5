# SPDX-License-Identifier: Apache-2.0
"""Our words of haproxy.cfg beside those of the real haproxy.

`.notice` has haproxy say its one argument while it reads a configuration.
"""

import random
import re
import subprocess
from pathlib import Path

from amphora_agent import haproxycfg
from amphora_agent.errors import ParseError
from tests.support import need

SEED = 1
WORDS = 3000
# Without what would end a line of haproxy's output.
LETTERS = [*"abx0=$", "\\", "#", "'", '"', " ", "\t", "\\ ", "\\x41", "\\'", '\\"', "\\$", "\\#"]
_SAID = re.compile(r"\[NOTICE\].* : parsing \[[^]]*:(?P<line>\d+)\]: '(?P<said>.*)'\.?")


def test_haproxycfg_words_equal_those_of_the_real_haproxy(tmp_path: Path) -> None:
    """Thousands of random words with quotes and escapes are read as the real haproxy reads them."""
    need.programs("haproxy")
    dice = random.Random(SEED)
    expected: dict[int, str] = {}
    lines: list[str] = []
    while len(lines) < WORDS:
        line = ".notice " + "".join(dice.choices(LETTERS, k=dice.randint(1, 8)))
        try:
            words, literal = haproxycfg.split(line)
        except ParseError:
            continue
        if literal and len(words) == 2 and words[1]:
            lines.append(line)
            expected[len(lines)] = words[1]
    config = tmp_path / "haproxy.cfg"
    config.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        ["haproxy", "-c", "-f", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    said = {int(match["line"]): match["said"] for match in _SAID.finditer(done.stderr)}
    assert said == expected
