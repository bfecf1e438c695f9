"""``KINESIS_*`` environment variables -> ``settings.KINESIS_BRIDGE``, with django-environ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import environ


def settings_from_env(env: environ.Env) -> dict[str, Any]:
    """Build ``KINESIS_BRIDGE`` from ``KINESIS_*`` variables with django-environ.

    Reads KINESIS_STREAM, _ROLE_ARN, _EXTERNAL_ID, _REGION, _SESSION_NAME, _PROFILE, _DELIVERY,
    _SOURCE, _SCHEMAS, _LOCAL_AWS, _LOCAL_AWS_URL and _STRICT into role ``default`` and stream
    ``default``. An empty variable counts as unset. Nothing is refused here: the checks do, naming
    the setting.
    """

    def read(name: str) -> str | None:
        return env.str(f"KINESIS_{name}", default="").strip() or None

    role = {
        key: value
        for key in ("ROLE_ARN", "EXTERNAL_ID", "SESSION_NAME", "PROFILE")
        if (value := read(key))
    }
    stream = {key: value for key in ("STREAM", "REGION", "DELIVERY") if (value := read(key))}
    bridge: dict[str, Any] = {"STREAMS": {"default": stream}}
    if role:
        if region := read("REGION"):
            role["REGION"] = region
        bridge["ROLES"] = {"default": role}
        stream["ROLE"] = "default"
    for key in ("SOURCE", "SCHEMAS", "LOCAL_AWS_URL"):
        if value := read(key):
            bridge[key] = value
    # Neither a true nor a false word: pass it on as it is, so that the check refuses it.
    words = {True: env.BOOLEAN_TRUE_STRINGS, False: ("false", "off", "no", "n", "0")}
    for key in ("LOCAL_AWS", "STRICT"):
        if value := read(key):
            bridge[key] = next(
                (truth for truth, names in words.items() if value.lower() in names), value
            )
    return bridge
