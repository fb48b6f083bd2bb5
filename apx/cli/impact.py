"""What a change does, product by product: its differences in words, and the recorded inputs replayed against it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import structlog

from apx import bootstrap
from apx.admission.impact import gone, judge, lacking
from apx.cli.versions import Version
from apx.errors import NotFound
from apx.policy.masking import mask_input
from apx.policy.opa import Opa
from apx.policy.replay import Example, Replayed, Side, as_recorded, replay
from apx.policy.rules import RuleChange, changed_rules
from apx.policy.sample import Sample
from apx.release.diff import Line, differences
from apx.release.model import Release
from apx.settings import Settings

RECORDED = "what was recorded"
_TELL_EVERY = 500

Status = Literal["changed", "new", "gone", "replayed"]


class Recorded(Protocol):
    """Where recorded inputs are read from."""

    @property
    def passed_over(self) -> int:
        """Return how many lines were no samples, of what was read so far."""
        ...

    def of(self, product: str) -> Sequence[Sample]:
        """Return the samples of a product."""
        ...


class ProductImpact(msgspec.Struct, frozen=True, kw_only=True):
    """What a change does to one product."""

    product: str
    status: Status
    before: str | None
    """Digest of its release; None for a new product, and where what was recorded is the other side."""
    after: str | None
    lines: list[Line] = []
    lacks: list[str] = []
    """What the policy is shown after the change and recorded inputs do not have."""
    replayed: Replayed | None = None
    """None without recorded inputs: then nothing is known of decisions."""

    @property
    def flips(self) -> int:
        """Return how many of the recorded requests are let through or refused otherwise."""
        return self.replayed.flips if self.replayed else 0


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """What a change does."""

    before: str
    after: str
    products: list[ProductImpact]
    unchanged: list[str]
    passed_over: int
    """Lines of the sample that could not be read."""

    @property
    def flips(self) -> int:
        """Return how many of the recorded requests are let through or refused otherwise, of all products."""
        return sum(product.flips for product in self.products)


def diff(settings: Settings, before: Version, after: Version, products: Sequence[str], files: Sequence[Path]) -> Impact:
    """Compare two versions. Raises `NotFound` for a product that is in neither, and what is wrong with a version."""
    recorded = bootstrap.recorded(settings, files)
    old, new = set(before.products()), set(after.products())
    wanted = _wanted(old | new, products, before, after)
    unchanged = [name for name in wanted if name in old & new and before.is_like(after, name)]
    changed = [name for name in wanted if name not in unchanged]
    with _quiet():
        was, now = _releases(before, set(changed) & old), _releases(after, set(changed) & new)
        rules = {name: _rules(name, before, after) for name in changed if name in old & new}
        found = [
            _compared(settings, name, recorded, old=was.get(name), new=now.get(name), rules=rules.get(name))
            for name in changed
        ]
    return Impact(
        before=before.label, after=after.label, products=found, unchanged=unchanged, passed_over=recorded.passed_over
    )


def against_record(settings: Settings, after: Version, products: Sequence[str], files: Sequence[Path]) -> Impact:
    """Replay what was recorded, and compare with what was decided then."""
    recorded = bootstrap.recorded(settings, files)
    wanted = _wanted(set(after.products()), products, after)
    with _quiet():
        releases = _releases(after, [name for name in wanted if recorded.of(name)])
        found = [_replayed(settings, name, releases.get(name), recorded) for name in wanted]
    return Impact(
        before="what was recorded", after=after.label, products=found, unchanged=[], passed_over=recorded.passed_over
    )


def as_builtins(impact: Impact) -> dict[str, Any]:
    """Return the report as `--json` prints it."""
    return {
        "before": impact.before,
        "after": impact.after,
        "flips": impact.flips,
        "unchanged": impact.unchanged,
        "passed_over": impact.passed_over,
        "products": [
            {
                **msgspec.structs.asdict(one),
                "flips": one.flips,
                "lines": [{"danger": line.danger.name.lower(), "text": line.text} for line in one.lines],
            }
            for one in impact.products
        ],
    }


def _wanted(known: set[str], products: Sequence[str], *sides: Version) -> list[str]:
    unknown = sorted(set(products) - known)
    if unknown:
        where = " nor ".join(side.label for side in sides)
        raise NotFound(f"no product {', '.join(map(repr, unknown))} in {where}; there are: {', '.join(sorted(known))}")
    return sorted(set(products) or known)


def _releases(side: Version, products: Iterable[str]) -> dict[str, Release]:
    wanted = sorted(products)
    if not wanted:
        return {}
    _say(f"{side.label}: {len(wanted)} product{'s' * (len(wanted) != 1)} to make ready")
    return side.releases(wanted)


def _compared(
    settings: Settings,
    name: str,
    recorded: Recorded,
    *,
    old: Release | None,
    new: Release | None,
    rules: list[RuleChange] | None,
) -> ProductImpact:
    samples = recorded.of(name) if old else []
    replayed = None
    if old is not None and samples:
        base_path = old.manifest.spec.base_path
        cache = settings.home / "cache" / "modules"
        with ExitStack() as stack:
            was: Side = stack.enter_context(judge(old, cache_dir=cache))
            now: Side = stack.enter_context(judge(new, cache_dir=cache, base_path=base_path)) if new else gone
            replayed = _replay(name, samples, was, now, old.digest)
    both = old is not None and new is not None
    return ProductImpact(
        product=name,
        status="changed" if both else "gone" if old else "new",
        before=old.digest if old else None,
        after=new.digest if new else None,
        lines=differences(old, new, rules) if old and new else [],
        lacks=lacking(old.manifest, new.manifest) if old and new else [],
        replayed=replayed,
    )


def _replayed(settings: Settings, name: str, release: Release | None, recorded: Recorded) -> ProductImpact:
    samples = recorded.of(name)
    replayed = None
    if release is not None:
        with judge(release, cache_dir=settings.home / "cache" / "modules") as now:
            replayed = _replay(name, samples, as_recorded, now, None)
    return ProductImpact(
        product=name,
        status="replayed",
        before=None,
        after=release.digest if release else None,
        replayed=replayed,
    )


def _rules(name: str, before: Version, after: Version) -> list[RuleChange] | None:
    old, new = before.sources(name), after.sources(name)
    return None if old is None or new is None else changed_rules(Opa.find(), old, new)


def _replay(name: str, samples: Sequence[Sample], was: Side, now: Side, release: str | None) -> Replayed:
    total = len(samples)
    began = time.monotonic()
    with _progress(f"{name}: {total} recorded inputs") as progress:
        replayed = replay(samples, was, now, before_release=release, progress=progress)
    if not sys.stderr.isatty():
        _say(f"{name}: {total} recorded inputs replayed in {time.monotonic() - began:.1f} s")
    examples = tuple(map(_masked, replayed.examples))
    return msgspec.structs.replace(replayed, examples=examples)


def _masked(example: Example) -> Example:
    """Mask an example again: a sample file may come from anywhere. What is masked stays as it is."""
    sample = example.sample
    try:
        masked = mask_input(bytes(sample.input))
    except ValueError:
        masked = b"{}"
    return msgspec.structs.replace(example, sample=msgspec.structs.replace(sample, input=msgspec.Raw(masked)))


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return

    def tell(number: int) -> None:
        if number % _TELL_EVERY == 0:
            print(f"\r{what}: {number}", end="", file=sys.stderr)

    yield tell
    print(f"\r{what}: done  ", file=sys.stderr)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log out of the report: ten thousand inputs that a policy fails on would be ten thousand lines."""
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    try:
        yield
    finally:
        structlog.configure(**before)
