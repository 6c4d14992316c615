"""`spec.data`: the table, and how to reach its database."""

from __future__ import annotations

import enum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from insitu.api.base import SPACES, Model, NamedSecret, ObjectName, Port

_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
Endpoint = Annotated[
    str,
    StringConstraints(
        max_length=259, pattern=rf"^(\[[0-9A-Fa-f:.]+\]|[^{SPACES}:/\[\]]+):{_PORT}$"
    ),
    Field(description="`host:port`; an IPv6 address stands in brackets."),
]

ColumnName = Annotated[
    str, StringConstraints(min_length=1, max_length=128), Field(description="Name of a column.")
]
TableName = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=48)]


class OnChange(enum.StrEnum):
    """What to do when the table changes under a running epoch."""

    FAIL = "Fail"
    CONTINUE = "Continue"


class ServicePort(Model):
    """A Kubernetes Service that selects the pods of the database."""

    name: ObjectName = Field(description="Name of the Service, in the namespace of the job.")
    port: Port = Field(description="Port of the Service that the database's clients use.")


class Reach(Model):
    """How to reach a database: through exactly one of `service` and `endpoints`."""

    service: ServicePort | None = Field(
        default=None,
        description="Service of a database that runs in this Kubernetes cluster. Exactly one of"
        " `service` and `endpoints` is set.",
    )
    endpoints: tuple[Endpoint, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="Addresses `host:port` of any live database nodes; they name all the others."
        " For databases outside Kubernetes, and for `insitu run`.",
    )
    credentials: NamedSecret | None = Field(
        default=None,
        description="Secret with the keys `username` and `password`, whose annotation"
        " `insitu.dev/hosts` names the hosts that the operator may send them to: those of"
        " `endpoints`, or `NAME.NAMESPACE.svc` for a Service; several with commas, `*` for any part"
        " of a name. Default: no authentication.",
    )
    tls: NamedSecret | None = Field(
        default=None,
        description="Secret with the keys `ca.crt` and, where the server asks for a client"
        " certificate, `tls.crt` and `tls.key`. Default: no TLS.",
    )

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.service is None) == (self.endpoints is None):
            found = "neither is" if self.service is None else "both are"
            raise ValueError(f"exactly one of service and endpoints must be set; {found}")
        return self


class IgniteData(Reach):
    """A cache or SQL table of Apache Ignite."""

    cache: TableName = Field(description="Name of the Ignite cache, or of the SQL table.")
    columns: tuple[ColumnName, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="Columns to hand to the script, in this order. Default: all.",
    )


class CassandraData(Reach):
    """A table of Apache Cassandra."""

    keyspace: Identifier = Field(description="Name of the keyspace.")
    table: Identifier = Field(description="Name of the table in the keyspace.")
    columns: tuple[ColumnName, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="Columns to hand to the script, in this order. Default: all.",
    )
    where: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="Further CQL conditions that a row must meet, as after `WHERE`. Default: none.",
    )
    datacenter: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="Datacenter whose replicas are read. Default: the one of the endpoint that"
        " answers first.",
    )


class Data(Model):
    """The table to train on, in exactly one database."""

    ignite: IgniteData | None = Field(
        default=None,
        description="A cache or table of Apache Ignite. Exactly one of `ignite` and `cassandra`"
        " is set.",
    )
    cassandra: CassandraData | None = Field(
        default=None,
        description="A table of Apache Cassandra. Exactly one of `ignite` and `cassandra` is set.",
    )
    on_change: OnChange = Field(
        default=OnChange.FAIL,
        description="What to do when rows come or go while an epoch reads them: `Fail` ends the"
        " job, `Continue` goes on and marks the epoch as inexact. Default: Fail.",
    )

    @model_validator(mode="after")
    def _one_database(self) -> Self:
        if (self.ignite is None) == (self.cassandra is None):
            found = "neither is" if self.ignite is None else "both are"
            raise ValueError(f"exactly one of ignite and cassandra must be set; {found}")
        return self

    @property
    def kind(self) -> str:
        """`ignite` or `cassandra`."""
        return "ignite" if self.ignite is not None else "cassandra"

    @property
    def reach(self) -> IgniteData | CassandraData:
        """Whichever of the two is set."""
        found = self.ignite or self.cassandra
        assert found is not None
        return found

    @property
    def table(self) -> str:
        """The table as `insitu.databases.DataSource` names it."""
        if self.cassandra is not None:
            return f"{self.cassandra.keyspace}.{self.cassandra.table}"
        assert self.ignite is not None
        return self.ignite.cache

    @property
    def options(self) -> dict[str, str]:
        """The database's own options, as `insitu.databases.DataSource` names them."""
        if self.cassandra is None:
            return {}
        options = {"datacenter": self.cassandra.datacenter, "where": self.cassandra.where}
        return {name: value for name, value in options.items() if value is not None}
