"""A real S3 store for checkpoints: versitygw, over a folder of this machine.

>>> with start() as store:  # doctest: +SKIP
...     store.create_bucket("checkpoints")
...     os.environ.update(store.environment)
...     insitu.checkpoint.open_store("s3://checkpoints/team")
"""

from testbed.s3.server import Server, is_built, start

__all__ = ["Server", "is_built", "start"]
