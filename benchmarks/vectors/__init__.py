"""Vector search beside bare faiss and other stores: see `__main__` and ../README.md."""
