"""The definition itself: names, versions, columns and the schema of a TrainingJob.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import yaml

from insitu.api import GROUP, KIND, VERSION, Spec, Status, TrainingJob
from insitu_operator.crd.columns import COLUMNS
from insitu_operator.crd.rules import NAME, RULES
from insitu_operator.crd.structural import Keys, Node, structural

SINGULAR = KIND.lower()
PLURAL = f"{SINGULAR}s"
_NOTE = "# Written by `make generate` from the models in insitu.api; edit those.\n"

_METADATA = "\nmetadata:\n"
_CHARTS_METADATA = """\
  labels:
    {{- include "insitu.labels" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""

KEYS: Keys = {"Condition": "type", "EnvVar": "name", "Metric": "name"}
"""What tells the entries of a list apart, by their model; other lists are replaced as a whole.

Ranks are among those: only the operator writes of them, and who wrote which field of which rank
would be the longest part of the object.
"""


def manifest() -> str:
    """The definition as YAML."""
    return _NOTE + yaml.dump(
        definition(), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True
    )


def chart_template() -> str:
    """The definition as a template of the Helm chart, which may keep it when it goes itself.

    Helm never upgrades what is in a chart's `crds` folder: hence a template.
    """
    text = manifest()
    if "{{" in text:
        raise ValueError("the definition holds {{, which Helm would take for its own")
    note, body = text.split("\n", 1)
    return (
        f"{note}\n{{{{- if .Values.crds.enabled }}}}\n"
        f"{body.replace(_METADATA, _METADATA + _CHARTS_METADATA, 1)}{{{{- end }}}}\n"
    )


def definition() -> Node:
    """The CustomResourceDefinition, for API version apiextensions.k8s.io/v1."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": SINGULAR,
                "shortNames": ["tjob"],
                "categories": ["ml"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.document() for column in COLUMNS],
                    "schema": {"openAPIV3Schema": _schema()},
                }
            ],
        },
    }


def _schema() -> Node:
    described = {f.alias or n: f.description for n, f in TrainingJob.model_fields.items()}
    fields: Node = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "spec": structural(Spec, RULES, KEYS),
        # Without defaults: what Insitu has not written must not look as if it had.
        "status": structural(Status, RULES, KEYS, defaults=False),
    }
    return {
        "description": TrainingJob.__doc__,
        "type": "object",
        "required": ["spec"],
        "properties": {
            # Kubernetes has its own description of this one, and wants no other.
            "metadata": {"type": "object"},
            **{name: node | {"description": described[name]} for name, node in fields.items()},
        },
        "x-kubernetes-validations": [NAME.document()],
    }


class _Dumper(yaml.SafeDumper):
    """Without anchors: what is there twice is written twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the base asks for it
        return True
