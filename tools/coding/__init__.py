"""Parts of `tools/codes.py`: faces to measure on, codes that are fitted now, and Gaussian noise beside them."""
