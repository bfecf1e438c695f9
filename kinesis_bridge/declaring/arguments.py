"""What ``publishes()`` is given: types, and which arguments go together. Loads no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q

from .shapes import is_shape

ALL_FIELDS = "__all__"


def check_texts(type_: object, key: object, stream: object) -> None:
    """Refuse what is no text, or empty."""
    if type_ is not None and (not isinstance(type_, str) or not type_):
        raise ImproperlyConfigured(
            f"publishes({type_!r}): the first argument is the events' type, a text such as"
            ' "shop.order". Write @publishes() where the model\'s own name will do.'
        )
    for argument, value in (("key", key), ("stream", stream)):
        if not isinstance(value, str) or not value:
            raise ImproperlyConfigured(f"publishes({argument}={value!r}): give one name, a text.")


def names(given: object) -> tuple[str, ...] | None:
    """Return one name or several as a tuple; None for what is neither."""
    if isinstance(given, str):
        return (given,)
    found = tuple(given) if isinstance(given, Iterable) else (given,)
    return found if all(isinstance(name, str) for name in found) else None


def sources(fields: object) -> dict[str, Any] | None:
    """Return what `fields` says: by the names in the data, where each value comes from.

    None where it says nothing, ``"__all__"`` included.
    """
    if fields is None or fields == ALL_FIELDS:
        return None
    if isinstance(fields, Mapping):
        return _mapped(fields)
    if isinstance(fields, str):
        raise ImproperlyConfigured(
            f'publishes(fields={fields!r}): give a list, ["{fields}"], or "{ALL_FIELDS}".'
        )
    found = names(fields)
    if found is None:
        raise ImproperlyConfigured(
            f"publishes(fields={fields!r}): give a list of field names, a dictionary of names and"
            f' where their values come from, or "{ALL_FIELDS}".'
        )
    return {name: name for name in found}


def _mapped(fields: Mapping[Any, Any]) -> dict[str, Any]:
    for name, given in fields.items():
        is_source = (
            bool(given)
            if isinstance(given, str)
            else callable(given) or hasattr(given, "resolve_expression")
        )
        if not isinstance(name, str) or not name or not is_source:
            raise ImproperlyConfigured(
                f"publishes(fields={{{name!r}: {given!r}}}): give a name in the data, and for it a"
                ' field ("total"), a path ("customer.email"), an expression (F("net") + F("tax"))'
                " or a function of an instance."
            )
    return dict(fields)


def check_when(when: object) -> None:
    """Refuse what is no condition."""
    if when is None or callable(when) or (isinstance(when, Q) and when):
        return
    raise ImproperlyConfigured(
        f"publishes(when={when!r}): give a function of an instance, such as"
        " lambda order: order.deleted_at is None, or a Q(deleted_at=None)."
    )


def check_capture(given: object) -> None:
    """Refuse what is no way of capture."""
    if given not in {"signals", "triggers"}:
        raise ImproperlyConfigured(
            f'publishes(capture={given!r}): choose "signals" (what Django writes) or "triggers"'
            " (whatever is written, on PostgreSQL)."
        )


def check_payload(payload: object, fields: object, exclude: object) -> None:
    """Refuse what is no function, and one beside `fields` or `exclude`."""
    if payload is None:
        return
    if not callable(payload) or isinstance(payload, type):
        raise ImproperlyConfigured(
            f"publishes(payload={payload!r}): give a function of an instance that returns the"
            ' data, such as lambda order: {"id": order.pk}.'
        )
    for argument, given in (("fields", fields), ("exclude", exclude)):
        if given is not None:
            raise ImproperlyConfigured(
                f"publishes({argument}={given!r}): payload= makes the whole of the data, so leave"
                f" {argument}= out."
            )


def selected(select: object) -> tuple[str, ...]:
    """Return the relations to load; refuse what is no list of names."""
    if select is None:
        return ()
    found = None if isinstance(select, str | Mapping) else names(select)
    if found is None:
        raise ImproperlyConfigured(
            f'publishes(select={select!r}): give a list of relations, such as ["customer"].'
        )
    return found


def check_schema(schema: object) -> None:
    """Refuse what is neither a dataclass nor a TypedDict."""
    if schema is not None and not is_shape(schema):
        raise ImproperlyConfigured(
            f"publishes(schema={schema!r}): give a dataclass or a TypedDict, the class itself."
        )


def check_version(version: object) -> None:
    """Refuse what is no whole number from 1 on."""
    if version is not None and (type(version) is not int or version < 1):
        raise ImproperlyConfigured(
            f"publishes(version={version!r}): give a whole number from 1 on; 2 makes the type"
            " shop.order.v2.created."
        )
