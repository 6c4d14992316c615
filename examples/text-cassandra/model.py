"""How texts become numbers, and the model that both train.py and evaluate.py use."""

import keras
import tensorflow as tf

WORDS = 8192


def tokens(texts):
    """Numbers below WORDS, one for each word of each text (rows,): a ragged tensor (rows, None)."""
    plain = tf.strings.regex_replace(tf.strings.lower(texts), "[^a-z]+", " ")
    return tf.strings.to_hash_bucket_fast(tf.strings.split(plain), WORDS)


def words(texts):
    """Which words there are in each text: (rows, WORDS) of 0 and 1."""
    found = tf.math.bincount(
        tokens(texts),
        minlength=WORDS,
        maxlength=WORDS,
        dtype=tf.float32,
        axis=-1,
        binary_output=True,
    )
    return tf.ensure_shape(found, (None, WORDS))


def classifier():
    """From the words of a text to one of three libraries."""
    keras.utils.set_random_seed(7)
    return keras.Sequential([keras.Input((WORDS,)), keras.layers.Dense(3)])
