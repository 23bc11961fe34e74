"""Compiled nodal analysis of a crossbar: line factors, conjugate gradients, block elimination, Newton.

The modules that hold compiled kernels import numba, so they are imported inside functions, on first use.
"""
