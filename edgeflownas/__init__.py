"""EdgeFlowNAS: a gated pipeline that trains and certifies a weight-sharing supernet for optical flow."""

__version__ = "0.1.0"
