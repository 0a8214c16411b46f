"""Optical-flow data in the FlyingChairs2 layout: files, generator, index and input pipeline."""
