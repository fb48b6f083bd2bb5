"""Keys of Cloud KMS: one for the data of each region, one that signs releases."""

from __future__ import annotations

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_google.data_google_project import DataGoogleProject
from cdktf_cdktf_provider_google.data_google_storage_project_service_account import (
    DataGoogleStorageProjectServiceAccount,
)
from cdktf_cdktf_provider_google.kms_crypto_key import KmsCryptoKey, KmsCryptoKeyVersionTemplate
from cdktf_cdktf_provider_google.kms_crypto_key_iam_member import KmsCryptoKeyIamMember
from cdktf_cdktf_provider_google.kms_key_ring import KmsKeyRing
from constructs import Construct

from stacks.environment import Environment, Region
from stacks.identity import Identity
from stacks.services import SERVICE_AGENTS
from stacks.stack import ApxStack

ROTATION_S = 90 * 86_400
USE = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
SIGNING = "release-signing"
VERIFIERS = ("router", "worker", "monitor", "control")
"""Who asks for the public half of the signing key, to let only signed releases through."""


class Encryption(ApxStack):
    """`data_keys` by the region's name, and the `signing_key` of releases."""

    def __init__(self, scope: Construct, environment: Environment, identity: Identity) -> None:
        super().__init__(scope, environment, "encryption")
        self._number = DataGoogleProject(self, "project", project_id=environment.project).number
        self._storage = DataGoogleStorageProjectServiceAccount(self, "storage", project=environment.project)
        self._rings = {region.name: self._ring(region) for region in environment.regions}
        self.data_keys = {region.name: self._data_key(region) for region in environment.regions}
        self.signing_key = self._signing_key(environment.home, identity)

    def _ring(self, region: Region) -> KmsKeyRing:
        name = _ring_name(self.environment, region)
        return KmsKeyRing(self, f"ring-{region.name}", name=name, location=region.name)

    def _data_key(self, region: Region) -> KmsCryptoKey:
        key = KmsCryptoKey(
            self,
            f"data-{region.name}",
            name="data",
            key_ring=self._rings[region.name].id,
            rotation_period=f"{ROTATION_S}s",
            lifecycle=TerraformResourceLifecycle(prevent_destroy=True),
        )
        agents = {name: account.format(self._number) for name, account in SERVICE_AGENTS.items()}
        for name, account in {**agents, "storage": self._storage.email_address}.items():
            KmsCryptoKeyIamMember(
                self,
                f"data-{region.name}-{name}",
                crypto_key_id=key.id,
                role=USE,
                member=f"serviceAccount:{account}",
            )
        return key

    def _signing_key(self, region: Region, identity: Identity) -> KmsCryptoKey:
        key = KmsCryptoKey(
            self,
            "signing",
            name=SIGNING,
            key_ring=self._rings[region.name].id,
            purpose="ASYMMETRIC_SIGN",
            version_template=KmsCryptoKeyVersionTemplate(algorithm="EC_SIGN_ED25519", protection_level="SOFTWARE"),
            lifecycle=TerraformResourceLifecycle(prevent_destroy=True),
        )
        KmsCryptoKeyIamMember(
            self,
            "signing-promoter",
            crypto_key_id=key.id,
            role="roles/cloudkms.signerVerifier",
            member=identity.accounts["promoter"].member,
        )
        for name in VERIFIERS:
            KmsCryptoKeyIamMember(
                self,
                f"signing-{name}",
                crypto_key_id=key.id,
                role="roles/cloudkms.publicKeyViewer",
                member=identity.accounts[name].member,
            )
        return key


def signing_key_version(environment: Environment) -> str:
    """Return the whole name of the version that signs; a key of this kind does not turn by itself."""
    home = environment.home
    ring = f"projects/{environment.project}/locations/{home.name}/keyRings/{_ring_name(environment, home)}"
    return f"{ring}/cryptoKeys/{SIGNING}/cryptoKeyVersions/1"


def _ring_name(environment: Environment, region: Region) -> str:
    return f"apx-{environment.name}-{region.name}"
