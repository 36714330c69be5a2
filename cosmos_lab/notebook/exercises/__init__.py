"""The exercises of the notebooks, a module a notebook."""
