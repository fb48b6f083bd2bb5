"""Whether what was deployed answers: from outside, as a client and as a stranger would find it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from apx.backends.gcp import names
from apx.clock import Clock
from apx.errors import Unavailable
from stacks.deploy.cloud import Cloud
from stacks.deploy.web import Answer

DEADLINE_S, PAUSE_S = 900.0, 10.0
"""A certificate takes minutes once its record is there, and a new load balancer some more."""
WELL = 200
TO_SIGN_IN = frozenset({302, 401})
NO_RELEASE = "nothing is released yet, and the edge is not ready before: `./dev promote COMMIT` releases the products"


class Tried(msgspec.Struct, frozen=True):
    """One thing that was tried, and what came of it."""

    what: str
    ok: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'} {self.what}: {self.text}"


class Smoke(msgspec.Struct, frozen=True):
    """Tries a deployment; waits only for what may still be on its way."""

    cloud: Cloud
    clock: Clock
    pause: Callable[[float], None]
    outputs: Mapping[str, Any]
    """Of the stack `edge`: which records the names need."""

    def run(self) -> list[Tried]:
        """Try everything, the slow ones last, and return what came of each."""
        released, store = self._store()
        found = [store, *self._names()]
        if released:
            found.append(self._edge())
        elif store.ok:
            found.append(Tried("edge", ok=True, text=NO_RELEASE))
        return [*found, self._control()]

    def _store(self) -> tuple[bool, Tried]:
        environment = self.cloud.environment
        counts = {}
        for region in environment.regions:
            bucket = names.bucket(environment.project, region.name)
            try:
                # The empty prefix of a bucket can always be listed: a failure is one of rights or of the bucket.
                self.cloud.asked("storage", "buckets", "describe", f"gs://{bucket}")
            except Unavailable as error:
                return False, Tried("release store", ok=False, text=f"gs://{bucket} cannot be read: {error}")
            counts[region.name] = self._releases(bucket)
        told = ", ".join(f"{count} in {region}" for region, count in counts.items())
        return all(counts.values()), Tried("release store", ok=True, text=f"releases: {told}")

    def _releases(self, bucket: str) -> int:
        try:
            return len(self.cloud.asked("storage", "objects", "list", f"gs://{bucket}/releases/*.json") or ())
        except Unavailable:
            return 0  # gcloud fails where nothing matches

    def _names(self) -> Iterator[Tried]:
        for domain, address in self.outputs.get("address-record", {}).items():
            if (found := self.cloud.web.addresses(domain)) != {address}:
                text = f"is {', '.join(sorted(found)) or 'nowhere'}: make the record `{domain}. A {address}`"
                yield Tried(domain, ok=False, text=text)

    def _edge(self) -> Tried:
        url = f"https://{self.cloud.environment.domain}/healthz"
        answer = self._until(url, {WELL})
        return Tried("edge", ok=answer.status == WELL, text=f"{url} {self._said(answer)}")

    def _control(self) -> Tried:
        url = f"https://control.{self.cloud.environment.domain}/"
        answer = self._until(url, {*TO_SIGN_IN, WELL})
        if answer.status == WELL:
            return Tried("control", ok=False, text=f"{url} answers strangers: IAP is off. Take its record away now.")
        ok = answer.status in TO_SIGN_IN
        return Tried("control", ok=ok, text=f"{url} {'asks strangers to sign in' if ok else self._said(answer)}")

    def _until(self, url: str, wanted: set[int]) -> Answer:
        """Ask until one of these statuses comes, or the deadline."""
        deadline = self.clock.monotonic() + DEADLINE_S
        while True:
            answer = self.cloud.web.ask(url)
            hopeless = answer.trouble == "name"  # somebody has to make a record first
            if answer.status in wanted or hopeless or self.clock.monotonic() + PAUSE_S > deadline:
                return answer
            self.pause(PAUSE_S)

    def _said(self, answer: Answer) -> str:
        if answer.trouble == "name":
            return "has no address yet: make the record, and look again in some minutes"
        if answer.trouble == "certificate":
            wanted = self.outputs.get("certificate-records", {})
            records = "; ".join(f"`{name} CNAME {data}`" for name, data in wanted.items())
            return f"has no certificate yet ({answer.detail}): Google makes it once these records are there: {records}"
        if answer.trouble:
            return f"does not answer: {answer.detail}"
        return f"answers {answer.status}" + (", as it should" if answer.status == WELL else "")
