from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from apx.backends.files.releases import FileReleaseStore
from apx.catalog.load import load_catalog
from apx.clock import ManualClock
from apx.errors import InvalidCatalog, PolicyRejected
from apx.policy.opa import Opa
from apx.release.build import Builder, Built
from apx.release.digest import digest_of
from apx.release.load import Loader
from apx.release.signing import LocalSigner, key_id
from tests.unit.release.examples import SIGNER, TRUSTED

FILES = {
    "plans/free.yaml": """\
# yaml-language-server: $schema=../schemas/plan.json
apiVersion: apx.dev/v1
kind: Plan
metadata: {name: free}
spec: {title: Free, rate: {per_second: 1, burst: 5}}
""",
    "products/orders/product.yaml": """\
# yaml-language-server: $schema=../../schemas/product.json
apiVersion: apx.dev/v1
kind: Product
metadata: {name: orders}
spec:
  title: Orders
  owner: team
  base_path: /orders
  mode: async
  backend: {url: "https://backend.example"}
  routes: [{path: /, methods: [POST]}]
  policy: {package: products.orders}
  plans: [free]
""",
    "policies/products/orders/policy.rego": """\
package products.orders

default decision := {"allow": false, "reason": "denied"}

decision := {"allow": true, "reason": "ok"} if input.plan == "free"
""",
    "policies/products/orders/policy_test.rego": """\
package products.orders_test

import data.products.orders

test_free if orders.decision.allow with input as {"plan": "free"}
""",
}


def tree(folder: Path) -> Path:
    for name, content in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (folder / "orgs").mkdir()
    return folder


def edit(root: Path, name: str, old: str, new: str) -> None:
    content = (root / name).read_text()
    assert old in content
    (root / name).write_text(content.replace(old, new))


class Bench:
    """A tree, a store and a builder over both."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.root = tree(folder / "gitops")
        self.shelf = folder / "releases"
        self.store = FileReleaseStore(self.shelf)
        self.cache = cache
        self.clock = ManualClock()
        self.signer = SIGNER

    async def build(self, *products: str, annotations: dict[str, str] | None = None) -> list[Built]:
        builder = Builder(
            opa=Opa.find(),
            store=self.store,
            signer=self.signer,
            cache_dir=self.cache,
            clock=self.clock,
            annotations=annotations or {},
        )
        return [one async for one in builder.build(load_catalog(self.root), list(products) or None)]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled policies, shared: compiling is what takes the time."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def bench(tmp_path: Path, cache: Path) -> Bench:
    return Bench(tmp_path, cache)


async def test_what_was_built_can_be_loaded(bench: Bench) -> None:
    (built,) = await bench.build()
    loaded = await Loader(bench.store, TRUSTED).load(built.digest, "orders")
    assert (loaded.manifest.product, loaded.manifest.tests.passed) == ("orders", 1)


async def test_another_folder_time_and_cache_give_the_same_digest(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path / "elsewhere" / "deeper", tmp_path / "cold")
    other.clock.advance(1e6)
    ours, theirs = await bench.build(annotations={"commit": "abc"}), await other.build()
    assert [one.digest for one in ours] == [one.digest for one in theirs]


async def test_building_again_changes_nothing(bench: Bench) -> None:
    await bench.build()
    before = {path: path.read_bytes() for path in bench.shelf.rglob("*") if path.is_file()}
    bench.clock.advance(100)
    (again,) = await bench.build(annotations={"commit": "def"})
    assert again.new is False
    assert {path: path.read_bytes() for path in bench.shelf.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("products/orders/product.yaml", "title: Orders", "title: Sales"),
        ("plans/free.yaml", "burst: 5", "burst: 6"),
        ("policies/products/orders/policy.rego", '"ok"', '"fine"'),
    ],
    ids=["spec", "plan", "policy"],
)
async def test_each_part_of_a_product_is_part_of_its_digest(bench: Bench, name: str, old: str, new: str) -> None:
    (before,) = await bench.build()
    edit(bench.root, name, old, new)
    (after,) = await bench.build()
    assert after.digest != before.digest


async def test_a_comment_in_a_file_does_not_make_a_new_release(bench: Bench) -> None:
    (before,) = await bench.build()
    edit(bench.root, "products/orders/product.yaml", "title: Orders", "title: Orders  # the good ones")
    (after,) = await bench.build()
    assert after.digest == before.digest


async def test_a_failing_test_stores_nothing(bench: Bench) -> None:
    edit(bench.root, "policies/products/orders/policy_test.rego", "if orders", "if not orders")
    with pytest.raises(PolicyRejected, match="test_free"):
        await bench.build()
    assert not bench.shelf.exists()


async def test_a_policy_without_tests_stores_nothing(bench: Bench) -> None:
    (bench.root / "policies/products/orders/policy_test.rego").unlink()
    with pytest.raises(PolicyRejected, match="has no tests"):
        await bench.build()
    assert not bench.shelf.exists()


async def test_a_policy_that_does_not_compile_stores_nothing(bench: Bench) -> None:
    edit(bench.root, "policies/products/orders/policy.rego", "input.plan", "nowhere.plan")
    with pytest.raises(PolicyRejected):
        await bench.build()
    assert not bench.shelf.exists()


async def test_an_unknown_product_stores_nothing(bench: Bench) -> None:
    with pytest.raises(InvalidCatalog, match="there are: orders"):
        await bench.build("orders", "payslips")
    assert not bench.shelf.exists()


async def test_building_again_mends_a_damaged_part(bench: Bench) -> None:
    (built,) = await bench.build()
    for blob in (bench.shelf / "blobs").iterdir():
        blob.write_bytes(b"rot")
    await bench.build()
    assert (await Loader(bench.store, TRUSTED).load(built.digest)).digest == built.digest


async def test_building_again_mends_a_missing_part(bench: Bench) -> None:
    (built,) = await bench.build()
    shutil.rmtree(bench.shelf / "blobs")
    await bench.build()
    assert (await Loader(bench.store, TRUSTED).load(built.digest)).digest == built.digest


async def test_building_again_mends_a_damaged_envelope(bench: Bench) -> None:
    (built,) = await bench.build()
    for file in (bench.shelf / "releases").iterdir():
        file.write_bytes(b"rot")
    await bench.build()
    assert (await Loader(bench.store, TRUSTED).load(built.digest)).digest == built.digest


async def test_building_again_signs_with_the_key_of_today(bench: Bench) -> None:
    (built,) = await bench.build()
    key = Ed25519PrivateKey.generate()
    bench.signer = LocalSigner(key)
    await bench.build()
    only_the_new = Loader(bench.store, {key_id(key.public_key()): key.public_key()})
    assert (await only_the_new.load(built.digest)).digest == built.digest


async def test_a_build_that_was_killed_before_the_envelope_shows_no_release(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    async def killed(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(bench.store, "put_release", killed)
    with pytest.raises(Killed):
        await bench.build()
    assert [one async for one in bench.store.list_releases()] == []


def test_the_digest_is_sha256() -> None:
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
