"""How features are computed: one source for CPU and CUDA."""
