"""A real Kubernetes of several nodes, for tests, the demo and benchmarks.

>>> with start(nodes=3) as cluster:  # doctest: +SKIP
...     cluster.kubectl("get", "nodes")
...     cluster.nodes[1].power_off()
...     cluster.wait_ready()
"""

from testbed.cluster.base_images import debian
from testbed.cluster.cluster import Cluster, build, start
from testbed.cluster.daemon import StartFailed
from testbed.cluster.helm import HelmFailed
from testbed.cluster.images import Image, layer
from testbed.cluster.kubectl import KubectlFailed
from testbed.cluster.node import Node
from testbed.cluster.packages import Unsuitable

__all__ = [
    "Cluster",
    "HelmFailed",
    "Image",
    "KubectlFailed",
    "Node",
    "StartFailed",
    "Unsuitable",
    "build",
    "debian",
    "layer",
    "start",
]
