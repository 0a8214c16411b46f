"""`python -m tests.two_devices FLAGS`: `train_supernet` where the backend sees two devices, both of them this CPU."""

import os

from edgeflownas.errors import run_command
from edgeflownas.train_supernet import main

if __name__ == "__main__":
    if os.environ.get("KERAS_BACKEND") == "jax":
        os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    else:
        import tensorflow as tf

        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    run_command(main)
