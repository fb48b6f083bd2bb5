from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from apx.backends.files.signing import KeyFolder, ensure_secret, write_secret
from apx.errors import Misconfigured
from apx.release.signing import key_id


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path)


def test_a_fresh_folder_gets_one_key_that_it_trusts(folder: KeyFolder) -> None:
    folder.ensure()
    assert list(folder.trusted()) == [folder.signer().key_id]


def test_a_key_that_is_there_stays(folder: KeyFolder) -> None:
    folder.ensure()
    first = folder.signer().key_id
    folder.ensure()
    assert folder.signer().key_id == first


def test_many_at_one_time_agree_on_one_key(tmp_path: Path) -> None:
    def make(_: int) -> str:
        folder = KeyFolder(tmp_path)
        folder.ensure()
        return folder.signer().key_id

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(make, range(32)))
    assert made == set(KeyFolder(tmp_path).trusted())


def test_only_the_owner_reads_the_private_key(folder: KeyFolder, tmp_path: Path) -> None:
    folder.ensure()
    assert stat.S_IMODE((tmp_path / "release-signing.pem").stat().st_mode) == 0o600


def test_no_draft_of_a_key_is_left(folder: KeyFolder, tmp_path: Path) -> None:
    folder.ensure()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release-signing.pem", "trusted"]


def test_a_key_that_is_no_longer_trusted_does_not_come_back(folder: KeyFolder, tmp_path: Path) -> None:
    folder.ensure()
    next((tmp_path / "trusted").iterdir()).unlink()
    folder.ensure()
    assert folder.trusted() == {}


def test_a_second_key_can_be_trusted(folder: KeyFolder) -> None:
    folder.ensure()
    other = Ed25519PrivateKey.generate().public_key()
    folder.trust(other)
    assert set(folder.trusted()) == {folder.signer().key_id, key_id(other)}


def test_a_trusted_key_goes_by_its_content_and_not_by_its_files_name(folder: KeyFolder, tmp_path: Path) -> None:
    folder.ensure()
    file = next((tmp_path / "trusted").iterdir())
    file.rename(file.with_name("another-name.pem"))
    assert list(folder.trusted()) == [folder.signer().key_id]


def test_a_trusted_key_that_cannot_be_read_is_an_error(folder: KeyFolder, tmp_path: Path) -> None:
    folder.ensure()
    (tmp_path / "trusted" / "torn.pem").write_text("-----BEGIN PUBLIC KEY-----")
    with pytest.raises(Misconfigured, match=r"torn\.pem"):
        folder.trusted()


def test_a_trusted_key_of_another_kind_is_an_error(folder: KeyFolder, tmp_path: Path) -> None:
    folder.ensure()
    public = generate_private_key(SECP256R1()).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "trusted" / "ec.pem").write_bytes(pem)
    with pytest.raises(Misconfigured, match="is not an Ed25519 public key"):
        folder.trusted()


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_a_private_key_that_cannot_be_read_is_an_error(folder: KeyFolder, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "release-signing.pem").write_bytes(content)
    with pytest.raises(Misconfigured, match="no usable Ed25519 private key"):
        folder.signer()


def test_a_private_key_of_another_kind_is_an_error(folder: KeyFolder, tmp_path: Path) -> None:
    private = generate_private_key(SECP256R1())
    (tmp_path / "release-signing.pem").write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(Misconfigured, match="is not an Ed25519 private key"):
        folder.signer()


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Misconfigured, match="file"):
        KeyFolder(tmp_path / "file").ensure()


def test_a_secret_stays_the_same(tmp_path: Path) -> None:
    assert ensure_secret(tmp_path / "secret") == ensure_secret(tmp_path / "secret")


def test_many_at_one_time_agree_on_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: ensure_secret(tmp_path / "secret"), range(64)))
    assert len(made) == 1


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_torn_secret_is_an_error_and_not_a_weak_secret(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(Misconfigured, match="32 bytes"):
        ensure_secret(tmp_path / "secret")


def test_a_secret_that_cannot_be_kept_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Misconfigured, match="file"):
        ensure_secret(tmp_path / "file" / "secret")


def test_a_secret_is_never_written_over(tmp_path: Path) -> None:
    write_secret(tmp_path / "secret", b"first")
    with pytest.raises(FileExistsError):
        write_secret(tmp_path / "secret", b"second")
    assert (tmp_path / "secret").read_bytes() == b"first"
