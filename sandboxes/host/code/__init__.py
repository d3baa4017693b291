"""``run_code``: contexts of a sandbox, their kernels, and the record of every cell."""
