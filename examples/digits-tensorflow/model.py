"""The network that both train.py and evaluate.py use."""

import keras


def classifier():
    """8 x 8 grey values (0 to 16, as 64 floats a row) to ten digits."""
    keras.utils.set_random_seed(7)
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
