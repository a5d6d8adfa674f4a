"""Augmentation: random changes of training images on the device, and new classes made of those that there are."""
