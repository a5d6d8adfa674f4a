"""The machine that a command runs on: packages, devices, memory, disks, data, and environment variables. Needs no PyTorch."""
