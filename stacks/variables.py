"""What a container's process is told, checked by the settings class that will read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar, cast

import msgspec
from pydantic import ValidationError

from apx.errors import Misconfigured
from apx.settings import Settings

S = TypeVar("S", bound=Settings)


class Told(msgspec.Struct, Generic[S], frozen=True):
    """The settings that a process will have, and the variables that say so; what is not said has its default."""

    settings: S
    variables: Mapping[str, str]


def tell(kind: type[S], values: Mapping[str, str | int | float | bool]) -> Told[S]:
    """Say these fields of a settings class. Raises `Misconfigured` for one that it does not have or would not take."""
    try:
        settings = _alone(kind)(**cast("dict[str, Any]", values))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise Misconfigured(f"{kind.__name__}: {wrong}") from error
    prefix = kind.model_config["env_prefix"]
    return Told(settings, {f"{prefix}{name.upper()}": str(value) for name, value in values.items()})


def _alone(kind: type[S]) -> type[S]:
    """Return the class without the environment of whoever synthesises."""

    class Alone(kind):  # type: ignore[valid-type, misc]
        @classmethod
        def settings_customise_sources(cls, *_: Any, init_settings: Any, **__: Any) -> tuple[Any, ...]:
            return (init_settings,)

    return Alone
