"""From images to label maps: sliding windows, label-map files, colours."""
