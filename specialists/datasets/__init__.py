"""One data set layout per file: each yields Sample(image, labels, patient, split)."""
