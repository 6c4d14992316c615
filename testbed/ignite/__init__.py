"""A real Apache Ignite cluster for tests, the demo and benchmarks.

>>> with start(nodes=3) as cluster:  # doctest: +SKIP
...     cluster.sql('CREATE TABLE T (ID INT PRIMARY KEY, V INT) WITH "template=p64,backups=1"')
...     cluster.nodes[1].kill()
...     cluster.wait_rebalanced()
"""

from testbed.certificates import Certificates
from testbed.ignite.cluster import Cluster, start
from testbed.node import BootFailed, Node

__all__ = ["BootFailed", "Certificates", "Cluster", "Node", "start"]
