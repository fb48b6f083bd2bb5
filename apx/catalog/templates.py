"""Route templates: which are the same to a router.

Segment by segment from the left, a literal wins over `{name}`, and `{name}` over `{name=**}`, which takes one or more
segments; the order in the file does not matter. So two templates are ambiguous only when they are alike but for the
names in braces, and share a method.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from apx.catalog.model import Route

_PARAMETER = re.compile(r"\{([a-z][a-z0-9_]*)(=\*\*)?\}")


def parameters(template: str) -> list[str]:
    """Return the names in a template's braces, in order."""
    return [name for name, _ in _PARAMETER.findall(template)]


def repeated_parameter(template: str) -> str | None:
    """Return a name that the template uses twice."""
    return next((name for name, count in Counter(parameters(template)).items() if count > 1), None)


def ambiguous(routes: Sequence[Route]) -> Iterator[tuple[int, int, str]]:
    """Yield (index, index of an earlier route, method) for each route that takes what the earlier one takes."""
    first: dict[tuple[str, str], int] = {}
    for at, route in enumerate(routes):
        shape = _PARAMETER.sub(r"{\2}", route.path)
        clashes = [(first[shape, method], method) for method in route.methods if (shape, method) in first]
        if clashes:
            yield at, *clashes[0]
        for method in route.methods:
            first.setdefault((shape, method), at)
