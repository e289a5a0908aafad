"""vaeneer: learn, measure and search the surfaces of a material library with a VAE.

Public names are those of __init__.pyi. They are imported when they are first used, so that
`import vaeneer` is instant and does not import PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
