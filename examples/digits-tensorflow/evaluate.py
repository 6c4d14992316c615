"""Accuracy of a job's newest checkpoint on the held-out digits: `python evaluate.py STORE JOB`."""

import sys

import tensorflow as tf
from data import split
from model import classifier

import insitu.tensorflow

model = classifier()
commit = insitu.tensorflow.load(sys.argv[1], job=sys.argv[2], model=model)
_, pixels, _, labels = split()
predicted = tf.argmax(model(pixels), axis=1)
accuracy = float(tf.reduce_mean(tf.cast(predicted == labels, tf.float32)))
print(f"step {commit.cursor.step}: test accuracy {accuracy:.4f} on {len(labels)} held-out digits")
