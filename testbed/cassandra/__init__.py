"""A real Apache Cassandra cluster for tests, the demo and benchmarks.

>>> with start(nodes=3) as cluster:  # doctest: +SKIP
...     cluster.keyspace("k", replicas=2)
...     cluster.cql("CREATE TABLE k.t (id int PRIMARY KEY, v int)")
...     cluster.nodes[1].kill()
...     cluster.wait_seen_down(cluster.nodes[1])
"""

from testbed.cassandra.cluster import Cluster, start
from testbed.cassandra.configuration import Place
from testbed.certificates import Certificates
from testbed.node import BootFailed, Node

__all__ = ["BootFailed", "Certificates", "Cluster", "Node", "Place", "start"]
