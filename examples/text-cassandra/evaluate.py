"""Accuracy of a job's newest checkpoint on the held-out texts: `python evaluate.py STORE JOB`."""

import sys

import tensorflow as tf
from data import split
from model import classifier, words

import insitu.tensorflow

model = classifier()
commit = insitu.tensorflow.load(sys.argv[1], job=sys.argv[2], model=model)
_, held_out = split()
texts, labels = zip(*held_out, strict=True)
predicted = tf.argmax(model(words(tf.constant(texts))), axis=1, output_type=tf.int32)
accuracy = float(tf.reduce_mean(tf.cast(predicted == labels, tf.float32)))
print(f"step {commit.cursor.step}: test accuracy {accuracy:.4f} on {len(labels)} held-out texts")
