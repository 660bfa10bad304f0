"""The programs that tell the kernel whose packets are whose, and how they are built."""
