# SPDX-License-Identifier: Apache-2.0
"""HTML's entities in files that have nothing to do with HTML: Octavia's Jinja escapes them."""

import re

_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&#39;": "'", "&#34;": '"'}
_ENTITY = re.compile("|".join(_ENTITIES))
_UNESCAPED = re.compile(f"[<>'\"]|&(?!{'|'.join(name[1:] for name in _ENTITIES)})")


def unescape(value: str) -> str:
    """Undo the HTML escaping of Jinja, once or, for a file from user-data, twice.

    Escaped text holds no `< > ' "`, and every `&` in it begins one of five entities; a value for
    which that is not so was not escaped and stays. What comes out is looked at in the same way
    again, because Octavia escapes a file that travels in user-data (`user_data_config_drive`)
    once more as a whole.

    Two cases cannot be told apart from the value, and are decided by what is likelier: text that
    somebody typed as `a&amp;b` into a file by hand is taken as `a&b`; and a value that holds the
    text of an entity and no other special character on the controller, `a&lt;b`, which arrives as
    `a&amp;lt;b`, is taken for an `a<b` that came in user-data.
    """
    return _unescape_once(_unescape_once(value))


def _unescape_once(value: str) -> str:
    if _UNESCAPED.search(value):
        return value
    return _ENTITY.sub(lambda found: _ENTITIES[found[0]], value)
