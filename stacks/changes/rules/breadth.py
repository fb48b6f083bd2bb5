"""How much a role may do, so that two can be compared.

By its name, as Google names them (https://cloud.google.com/iam/docs/roles-overview): a viewer reads, a user uses, an
editor changes, an admin or owner does whatever there is. Basic roles are of the whole project, above all others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

BASIC: Mapping[str, int] = {"roles/owner": 9, "roles/editor": 8, "roles/viewer": 5}
_WORDS: tuple[tuple[str, int], ...] = (
    (r"admin|owner", 6),
    (r"editor|creator|developer|modifier|writer", 4),
    (r"user|agent|publisher|subscriber|attacher|encrypter|decrypter|accessor|invoker|signer|consumer|account", 3),
    (r"viewer|reader|reviewer|browser|verifier", 1),
)
ADMIN = 6
IMPERSONATING = re.compile(
    r"roles/(iam\.(serviceAccount(TokenCreator|User|KeyAdmin|OpenIdTokenCreator)|workloadIdentityUser|securityAdmin)"
    r"|resourcemanager\..*IamAdmin)$"
)
"""Roles that let one act as another, or hand out roles."""
DANGEROUS = re.compile(r"setIamPolicy|actAs|getAccessToken|signBlob|signJwt|\*|\.delete$|serviceAccountKeys")
"""Permissions by which one gets at more, or rid of something."""


def breadth(role: str) -> int | None:
    """Return how much a role may do, the more the higher; None for a role whose name does not say it."""
    if role in BASIC:
        return BASIC[role]
    if not role.startswith("roles/"):
        return None
    words = role.rpartition(".")[2].lower()
    return next((rank for pattern, rank in _WORDS if re.search(pattern, words)), None)


def powerful(role: str) -> bool:
    """Say whether a role alone makes its member dangerous."""
    return role in BASIC or (breadth(role) or 0) >= ADMIN or bool(IMPERSONATING.match(role))
