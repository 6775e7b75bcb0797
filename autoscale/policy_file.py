"""Policies from a file (`--policy FILE`): our own keys in YAML, TOML or JSON, Kubernetes' HorizontalPodAutoscaler, or
marathon-lb-autoscale's flags.

    defaults: {min: 2, max: 20}
    apps:
      /shop/web: {target: 40, cpu: 0.7, schedule: "0 8 * * 1-5 for 10h Europe/Berlin min=6"}

What an app asks for is put together out of the file's `defaults`, the app's labels, and its table in the file, the later one winning.
Only labels and the app's own table can make an app one that is scaled.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from autoscale import policy_hpa, policy_mlb
from autoscale.errors import PolicyError
from autoscale.policy import Policy
from autoscale.policy_keys import MEASURES, PREFIX, of_labels, parse

LARGEST = 5_000_000


@dataclass(frozen=True)
class Policies:
    """`defaults` and `apps` hold keys and values as they were given; `notes` say what has no counterpart here."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    apps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def of(self, app_id: str, labels: Mapping[str, str]) -> Policy | None:
        """None where nothing asks for the app to be scaled. Raises PolicyError."""
        own = self.apps.get(app_id) or self.apps.get(policy_mlb.name_of(app_id)) or {}
        said = of_labels(labels)
        if not any(key in MEASURES for key in (*own, *said)):
            return None

        def name(key: str) -> str:
            return PREFIX + key.upper() if key in said and key not in own else f"{app_id}: {key}"

        return parse({**self.defaults, **said, **own}, name=name)


def load(path: Path) -> Policies:
    """Raises PolicyError: what, in which app, and how it is to be."""
    document = document_of(path)
    if isinstance(document, str):
        defaults, apps, notes = policy_mlb.translate(document)
        return _checked(Policies(defaults, apps, notes), path)
    if any("kind" in one for one in document):
        hpas = dict(policy_hpa.translate(one) for one in document)
        return _checked(Policies({}, hpas, ()), path)
    [own] = document
    unknown = own.keys() - {"defaults", "apps"}
    if unknown:
        raise PolicyError(
            f"{path}: {', '.join(sorted(map(str, unknown)))} is not known; a policy file has `defaults` and `apps`"
        )
    defaults, apps = own.get("defaults") or {}, own.get("apps") or {}
    if not isinstance(defaults, dict) or not isinstance(apps, dict):
        raise PolicyError(f"{path}: `defaults` and `apps` are to be tables")
    for app, keys in apps.items():
        if not isinstance(keys, dict):
            raise PolicyError(f"{path}: apps: {app} is to be a table of keys like target")
    named = {"/" + str(app).strip("/"): _keys(keys) for app, keys in apps.items()}
    return _checked(Policies(_keys(defaults), named), path)


def load_one(path: Path, defaults: Mapping[str, Any]) -> Policy:
    """The one policy of a file, for a replay: our keys without `apps`, or a file of any kind that is about one app."""
    document = document_of(path)
    if isinstance(document, list) and len(document) == 1 and not document[0].keys() & {"apps", "defaults", "kind"}:
        given: Mapping[str, Any] = _keys(document[0])
    else:
        found = load(path)
        if len(found.apps) != 1:
            raise PolicyError(f"{path} is about {len(found.apps)} apps; a replay needs a file about one")
        given = {**found.defaults, **next(iter(found.apps.values()))}
    measured = {} if any(key in MEASURES for key in given) else {"target": defaults["target"]}
    bounds = {key: value for key, value in defaults.items() if key != "target"}
    try:
        policy = parse({**bounds, **measured, **given})
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None
    if policy is None:
        raise PolicyError(f"{path}: enabled is false")
    return policy


def document_of(path: Path) -> list[dict[str, Any]] | str:
    """The file's tables, or its text where it holds flags. Raises PolicyError."""
    try:
        if path.stat().st_size > LARGEST:
            raise PolicyError(f"policy file {path} is larger than {LARGEST:,} bytes")
        text = path.read_text()
    except FileNotFoundError:
        raise PolicyError(f"policy file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy file {path} cannot be read: {error}") from None
    if policy_mlb.is_flags(text):
        return text
    try:
        # JSON is YAML, too.
        found = [tomllib.loads(text)] if path.suffix == ".toml" else list(yaml.safe_load_all(text))
    except (tomllib.TOMLDecodeError, yaml.YAMLError, RecursionError) as error:
        where = " ".join(str(error).split())
        raise PolicyError(f"policy file {path} cannot be understood: {where}") from None
    documents = [one for one in found if one is not None]
    if not documents or not all(isinstance(one, dict) for one in documents):
        raise PolicyError(f"policy file {path} is to hold a table: `defaults` and `apps`, or a HorizontalPodAutoscaler")
    if len(documents) > 1 and not all("kind" in one for one in documents):
        raise PolicyError(f"policy file {path} holds several documents; that is for HorizontalPodAutoscalers alone")
    return documents


def _keys(given: Mapping[Any, Any]) -> dict[str, Any]:
    """The keys as they are known here; HPA's `behavior` becomes rates and times."""
    found = {str(key): value for key, value in given.items() if key != "behavior"}
    if "behavior" in given:
        found |= policy_hpa.behaviour(given["behavior"])
    return found


def _checked(policies: Policies, path: Path) -> Policies:
    wrong = []
    for app, keys in policies.apps.items():
        try:
            # An app's table may leave what it measures to the app's labels.
            measured = {} if any(key in MEASURES for key in keys) else {"target": 1}
            parse({**policies.defaults, **measured, **keys}, name=lambda key, app=app: f"{app}: {key}")  # type: ignore[misc]
        except PolicyError as error:
            wrong.append(str(error))
    try:
        parse({"target": 1, **policies.defaults}, name=lambda key: f"defaults: {key}")
    except PolicyError as error:
        wrong.append(str(error))
    if wrong:
        raise PolicyError(f"{path}: {'; '.join(dict.fromkeys(wrong))}")
    return policies
