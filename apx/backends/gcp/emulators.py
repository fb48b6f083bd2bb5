"""Google's emulators and fake-gcs-server on this machine: which program, and how each is started.

Used by the local supervisor and by the tests. Each listens on 127.0.0.1, keeps everything in memory (nothing survives
its end), and is found by Google's clients through the environment variable that it is named for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from apx.errors import Misconfigured

FIRESTORE, PUBSUB, STORAGE = "FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"
_FIRESTORE_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
_INSTALL = "Install the Google Cloud CLI with its components {} (gcloud components install {}) and Java 17 or later."


def firestore_command(port: int) -> list[str]:
    """Return the command line of a Firestore in memory. Raises `Misconfigured` where it is not installed."""
    jar = _jar("cloud-firestore-emulator", "*.jar")
    return [_java(), "-Xmx512m", "-Duser.language=en", "-cp", jar, _FIRESTORE_MAIN, "start", *_address(port)]


def pubsub_command(port: int) -> list[str]:
    """Return the command line of a Pub/Sub in memory. Raises `Misconfigured` where it is not installed."""
    return [_java(), "-Xmx512m", "-jar", _jar("pubsub-emulator", "lib/*.jar"), *_address(port)]


def storage_command(port: int) -> list[str]:
    """Return the command line of a Cloud Storage in memory. Raises `Misconfigured` where it is not installed."""
    where = f"127.0.0.1:{port}"
    options = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", where)
    return [_storage(), *options, "-external-url", f"http://{where}", "-backend", "memory", "-log-level", "warn"]


def addresses(*, firestore: int, pubsub: int, storage: int) -> Mapping[str, str]:
    """Return the environment by which Google's clients find emulators on these ports."""
    return {
        FIRESTORE: f"127.0.0.1:{firestore}",
        PUBSUB: f"127.0.0.1:{pubsub}",
        STORAGE: f"http://127.0.0.1:{storage}",
    }


def _address(port: int) -> tuple[str, str]:
    return "--host=127.0.0.1", f"--port={port}"


def _jar(component: str, pattern: str) -> str:
    for sdk in _sdks():
        if found := sorted((sdk / "platform" / component).glob(pattern)):
            return str(found[-1])
    raise Misconfigured(f"Google's {component} is not here. {_INSTALL.format(component, component)}")


def _sdks() -> list[Path]:
    gcloud = shutil.which("gcloud")
    given = os.environ.get("CLOUDSDK_ROOT_DIR")
    beside = Path(gcloud).resolve().parents[1] if gcloud else None
    return [Path(one) for one in (given, beside) if one]


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    if java is None or not os.access(java, os.X_OK):
        raise Misconfigured("Google's emulators need Java 17 or later, and none is on PATH or in JAVA_HOME.")
    return java


def _storage() -> str:
    found = os.environ.get("APX_FAKE_GCS_SERVER") or shutil.which("fake-gcs-server")
    if found is None or not os.access(found, os.X_OK):
        raise Misconfigured("fake-gcs-server is not on PATH: go install github.com/fsouza/fake-gcs-server@latest")
    return found
