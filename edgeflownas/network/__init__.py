"""The network, defined once: its stages as data, and the Keras model that runs them."""
