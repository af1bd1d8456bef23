"""Images matched with images: local features, candidate pairs, verification, densification, one model of all."""
