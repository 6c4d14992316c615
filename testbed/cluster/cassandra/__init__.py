"""Apache Cassandra in a cluster of the testbed, as users run it: a StatefulSet, one pod a node.

>>> with cluster.start(3, images=[cassandra.image()]) as kubernetes:  # doctest: +SKIP
...     database = cassandra.start(kubernetes, "default")
...     database.keyspace("k", replicas=2)
...     database.service, database.endpoints
"""

from testbed.cluster.cassandra.database import Database, start
from testbed.cluster.cassandra.image import image
from testbed.cluster.cassandra.manifests import Deployment, manifests

__all__ = ["Database", "Deployment", "image", "manifests", "start"]
