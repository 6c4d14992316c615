"""Apache Ignite in a cluster of the testbed, as users run it: a StatefulSet, one pod a node.

>>> with cluster.start(3, images=[ignite.image()]) as kubernetes:  # doctest: +SKIP
...     database = ignite.start(kubernetes, "default")
...     database.service, database.endpoints
"""

from testbed.cluster.ignite.database import Database, start
from testbed.cluster.ignite.image import image
from testbed.cluster.ignite.manifests import Deployment, manifests

__all__ = ["Database", "Deployment", "image", "manifests", "start"]
