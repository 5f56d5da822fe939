"""One layout of images and annotations a file: each has `fits(data) -> bool` and `read(data, options) -> Found`."""
