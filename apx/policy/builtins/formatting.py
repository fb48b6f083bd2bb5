"""sprintf, with the verbs and the error texts of Go's fmt, as far as opa's values can reach them.

An integer is an `int64` or a `*big.Int`, a number with a point or an exponent is a `float64`, everything else is a
`string` (its Rego text). `*` and argument indexes are left out: the evaluation stops.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from apx.policy.builtins.base import ARRAY, TEXT, Unanswerable, host
from apx.policy.values import RegoSet

_VERB = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>\d*)(?P<precision>\.\d*)?(?P<verb>.?)", re.DOTALL)
_MOST_WIDTH = 4_096
Argument = int | float | str
_INT64 = range(-(2**63), 2**63)


@host(TEXT, ARRAY)
def sprintf(pattern: str, values: list[Any]) -> str:
    """Format values by verbs."""
    arguments = [_argument(value) for value in values]
    used = 0
    out = []
    end = 0
    for match in _VERB.finditer(pattern):
        out.append(pattern[end : match.start()])
        end = match.end()
        verb = match["verb"]
        if verb == "%":
            out.append("%")
        elif verb == "":
            out.append("%!(NOVERB)")
        elif verb in "*[":
            raise Unanswerable("sprintf with * or argument indexes")
        elif used == len(arguments):
            out.append(f"%!{verb}(MISSING)")
        else:
            out.append(_format(match, arguments[used]))
            used += 1
    out.append(pattern[end:])
    if used < len(arguments):
        rest = ", ".join(f"{_kind(value)}={_plain(value)}" for value in arguments[used:])
        out.append(f"%!(EXTRA {rest})")
    return "".join(out)


def _argument(value: Any) -> Argument:
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return rego_text(value)


def rego_text(value: Any) -> str:
    """Write a value as opa's `String()` does: JSON with a space after colons and commas."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{rego_text(key)}: {rego_text(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, RegoSet):
        return "{" + ", ".join(map(rego_text, value)) + "}" if len(value) else "set()"
    if isinstance(value, list):
        return "[" + ", ".join(map(rego_text, value)) + "]"
    if isinstance(value, str):
        return _quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value).lower()


def _format(match: re.Match[str], value: Argument) -> str:
    flags, verb = match["flags"], match["verb"]
    width = int(match["width"] or 0)
    precision = None if match["precision"] is None else int(match["precision"][1:] or 0)
    if width > _MOST_WIDTH or (precision or 0) > _MOST_WIDTH:
        raise Unanswerable("sprintf with a width or precision over 4096")
    if isinstance(value, str):
        text = _format_text(verb, flags, precision, value)
    elif isinstance(value, float):
        text = _format_float(verb, flags, precision, value)
    else:
        text = _format_int(verb, flags, precision, value)
    if text is None:
        if flags or width or precision is not None:
            raise Unanswerable(f"sprintf of a {_kind(value)} by {match[0]}")
        return f"%!{verb}({_kind(value)}={_plain(value)})"
    return _pad(text, flags, width, zeros=isinstance(value, float) or (isinstance(value, int) and precision is None))


def _format_text(verb: str, flags: str, precision: int | None, value: str) -> str | None:
    cut = value if precision is None else value[:precision]
    if verb in "sv":
        return cut if not ("#" in flags and verb == "v") else _quoted(cut)
    if verb == "q":
        return _quoted(cut)
    if verb in "xX":
        raw = value.encode()[:precision].hex()
        return raw if verb == "x" else raw.upper()
    return None


def _format_int(verb: str, flags: str, precision: int | None, value: int) -> str | None:
    if value not in _INT64 and verb not in "sdvxXob":
        raise Unanswerable(f"sprintf of a big integer by %{verb}")
    if verb == "s" and value in _INT64:
        return None
    if verb in "cqU":
        return _format_rune(verb, flags, value)
    form = {"d": "d", "v": "d", "s": "d", "x": "x", "X": "X", "o": "o", "b": "b"}.get(verb)
    if form is None:
        return None
    if "#" in flags or precision is not None:
        raise Unanswerable("sprintf of an integer with # or a precision")
    return _signed(format(abs(value), form), flags, negative=value < 0)


def _format_rune(verb: str, flags: str, value: int) -> str:
    if flags.replace("-", ""):
        raise Unanswerable(f"sprintf of a character with flags {flags}")
    char = chr(value) if 0 <= value < 0x110000 and not 0xD800 <= value < 0xE000 else "\ufffd"  # noqa: PLR2004
    if verb == "c":
        return char
    if verb == "U":
        return f"U+{value & (2**64 - 1):04X}"
    raise Unanswerable("sprintf of an integer by %q")


def _format_float(verb: str, flags: str, precision: int | None, value: float) -> str | None:
    if verb in "xXb":
        raise Unanswerable(f"sprintf of a number with a fraction by %{verb}")
    if verb not in "vgGfFeE":
        return None
    if "#" in flags:
        raise Unanswerable("sprintf of a number with #")
    size = abs(value)
    if verb in "vgG":
        text = _shortest(size) if precision is None else f"{size:.{precision or 1}g}"
        text = text.upper() if verb == "G" else text
    elif verb in "fF":
        text = f"{size:.{6 if precision is None else precision}f}"
    else:
        text = f"{size:.{6 if precision is None else precision}{verb}}"
    return _signed(text, flags, negative=str(value).startswith("-"))


def _shortest(value: float) -> str:
    """Write the fewest digits that give the number back, with an exponent below -4 and from 6 on."""
    digits = Decimal(repr(value)).normalize()
    if value == 0:
        return "0"
    exponent = digits.adjusted()
    if -5 < exponent < 6:  # noqa: PLR2004  strconv, format g, shortest
        return format(digits, "f")
    mantissa = "".join(map(str, digits.as_tuple().digits))
    point = f".{mantissa[1:]}" if len(mantissa) > 1 else ""
    return f"{mantissa[0]}{point}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _signed(text: str, flags: str, *, negative: bool) -> str:
    return "-" + text if negative else "+" + text if "+" in flags else " " + text if " " in flags else text


def _pad(text: str, flags: str, width: int, *, zeros: bool) -> str:
    missing = width - len(text)
    if missing <= 0:
        return text
    if "-" in flags:
        return text + " " * missing
    if "0" in flags:
        if zeros and text[:1] in "+- ":
            return text[0] + "0" * missing + text[1:]
        return "0" * missing + text
    return " " * missing + text


def _kind(value: Argument) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, float):
        return "float64"
    return "int64" if value in _INT64 else "*big.Int"


def _plain(value: Argument) -> str:
    return _shortest(abs(value)) if isinstance(value, float) and value >= 0 else str(value)


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"} | {
    '"': '\\"',
    "\\": "\\\\",
}


def _quoted(value: str) -> str:
    """Quote as Go's `strconv.Quote`."""
    return '"' + "".join(_ESCAPES.get(char) or _shown(char) for char in value) + '"'


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:  # noqa: PLR2004
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004
