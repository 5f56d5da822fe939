"""From labelled images to specialists: fit, calibrate, fit the scope, publish."""
