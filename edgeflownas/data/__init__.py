"""Optical-flow data: file formats, layouts, generator, index and input pipeline."""
