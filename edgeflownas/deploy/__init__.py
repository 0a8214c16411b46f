"""From a subnet to files for a chip: export, quantisation, compilation and cost."""
