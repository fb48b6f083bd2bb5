"""Which images may run: those that the builder attested, and Google's own."""

from __future__ import annotations

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_google.binary_authorization_attestor import (
    BinaryAuthorizationAttestor,
    BinaryAuthorizationAttestorAttestationAuthorityNote,
    BinaryAuthorizationAttestorAttestationAuthorityNotePublicKeys,
    BinaryAuthorizationAttestorAttestationAuthorityNotePublicKeysPkixPublicKey,
)
from cdktf_cdktf_provider_google.binary_authorization_policy import (
    BinaryAuthorizationPolicy,
    BinaryAuthorizationPolicyDefaultAdmissionRule,
)
from cdktf_cdktf_provider_google.container_analysis_note import (
    ContainerAnalysisNote,
    ContainerAnalysisNoteAttestationAuthority,
    ContainerAnalysisNoteAttestationAuthorityHint,
)
from cdktf_cdktf_provider_google.data_google_kms_crypto_key_version import DataGoogleKmsCryptoKeyVersion
from cdktf_cdktf_provider_google.kms_crypto_key import KmsCryptoKey, KmsCryptoKeyVersionTemplate
from cdktf_cdktf_provider_google.kms_crypto_key_iam_member import KmsCryptoKeyIamMember
from cdktf_cdktf_provider_google.kms_key_ring import KmsKeyRing
from constructs import Construct

from stacks.environment import Environment
from stacks.identity import Identity
from stacks.stack import ApxStack

SIGNER = "builder"
"""The workflow that attests what it built; who deploys cannot make an image run that it did not."""


class Provenance(ApxStack):
    """The `attestor` whose signature an image needs to run in any of the project's clusters."""

    def __init__(self, scope: Construct, environment: Environment, identity: Identity) -> None:
        super().__init__(scope, environment, "provenance")
        self._name = f"apx-{environment.name}-provenance"
        self.signing_key = self._signing_key(identity)
        self.attestor = self._attestor()
        self._policy()

    def _signing_key(self, identity: Identity) -> KmsCryptoKey:
        """Make a key that signs images and nothing else: `signing_key` of `Encryption` is for releases of products."""
        ring = KmsKeyRing(self, "ring", name=self._name, location=self.environment.home.name)
        key = KmsCryptoKey(
            self,
            "attestation",
            name="attestation",
            key_ring=ring.id,
            purpose="ASYMMETRIC_SIGN",
            # Binary Authorization reads no Ed25519.
            version_template=KmsCryptoKeyVersionTemplate(algorithm="EC_SIGN_P256_SHA256", protection_level="SOFTWARE"),
            lifecycle=TerraformResourceLifecycle(prevent_destroy=True),
        )
        KmsCryptoKeyIamMember(
            self,
            f"attestation-{SIGNER}",
            crypto_key_id=key.id,
            role="roles/cloudkms.signerVerifier",
            member=identity.accounts[SIGNER].member,
        )
        return key

    def _attestor(self) -> BinaryAuthorizationAttestor:
        version = DataGoogleKmsCryptoKeyVersion(self, "version", crypto_key=self.signing_key.id)
        note = ContainerAnalysisNote(
            self,
            "note",
            name=self._name,
            attestation_authority=ContainerAnalysisNoteAttestationAuthority(
                hint=ContainerAnalysisNoteAttestationAuthorityHint(human_readable_name="Built and attested by APX")
            ),
        )
        public_key = BinaryAuthorizationAttestorAttestationAuthorityNotePublicKeys(
            id=version.id,
            pkix_public_key=BinaryAuthorizationAttestorAttestationAuthorityNotePublicKeysPkixPublicKey(
                public_key_pem=version.public_key.get(0).pem,
                signature_algorithm=version.public_key.get(0).algorithm,
            ),
        )
        return BinaryAuthorizationAttestor(
            self,
            "attestor",
            name=self._name,
            attestation_authority_note=BinaryAuthorizationAttestorAttestationAuthorityNote(
                note_reference=note.name, public_keys=[public_key]
            ),
        )

    def _policy(self) -> None:
        """Block what is not attested, and write it down; Google's own system images run by Google's policy."""
        BinaryAuthorizationPolicy(
            self,
            "policy",
            global_policy_evaluation_mode="ENABLE",
            default_admission_rule=BinaryAuthorizationPolicyDefaultAdmissionRule(
                evaluation_mode="REQUIRE_ATTESTATION",
                enforcement_mode="ENFORCED_BLOCK_AND_AUDIT_LOG",
                require_attestations_by=[self.attestor.name],
            ),
        )
