"""The engine: compiles and runs kernels that are written once for CPU and CUDA."""
