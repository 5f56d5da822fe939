"""A disease of one's own: from a folder of images to specialists that answer beside those that ship."""
