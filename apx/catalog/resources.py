"""What stands in a YAML file of the gitops tree: the envelope of the Kubernetes resource model around each spec."""

from __future__ import annotations

from typing import Literal

import msgspec

from apx.catalog.model import Name, OrgSpec, PlanSpec, ProductSpec

ApiVersion = Literal["apx.dev/v1"]


class Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What identifies a resource."""

    name: Name
    """The same as the file's name, for a product the same as the folder's."""


class ProductResource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An API product: base path, routes, backend, policy, plans."""

    api_version: ApiVersion
    """The version of this format."""
    kind: Literal["Product"]
    """What the file describes."""
    metadata: Metadata
    """What identifies the product."""
    spec: ProductSpec
    """The product."""


class PlanResource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A plan: named limits that products offer."""

    api_version: ApiVersion
    """The version of this format."""
    kind: Literal["Plan"]
    """What the file describes."""
    metadata: Metadata
    """What identifies the plan."""
    spec: PlanSpec
    """The plan."""


class OrgResource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An org: a tenant, its region and what it may use."""

    api_version: ApiVersion
    """The version of this format."""
    kind: Literal["Org"]
    """What the file describes."""
    metadata: Metadata
    """What identifies the org."""
    spec: OrgSpec
    """The org."""


Resource = ProductResource | PlanResource | OrgResource
