"""From images, masks, labels and opinions to conversations that teach the generalist."""
