"""Networks, their backbones and the model file."""
