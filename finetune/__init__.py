"""Teach the generalist."""

import logging

# PEFT loads it where it is installed, and on a CPU it then tells of kernels that nobody asked for.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
