"""Trains on the texts of this rank's own database node; every rank runs this same script."""

import keras
import tensorflow as tf
from model import classifier, words

import insitu.tensorflow

with insitu.tensorflow.session() as session:
    with session.strategy.scope():
        model = classifier()
        optimizer = keras.optimizers.Adam(2e-3)
    session.keep(model=model, optimizer=optimizer)

    def loss_of(columns):
        logits = model(words(columns["text"]))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(columns["label"], logits)
        return tf.reduce_sum(losses)  # a sum: ranks are uneven

    for _batch in session.batches():
        session.step(loss_of)
