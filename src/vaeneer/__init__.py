"""vaeneer: learn, measure and search the surfaces of a material library with a VAE.

Public names are imported when they are first used, so that `import vaeneer` is instant and does
not import PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaeneer.checkup import doctor as doctor
    from vaeneer.data.prepare import prepare as prepare
    from vaeneer.data.synthetic.synthesize import synthesize as synthesize
    from vaeneer.demonstration import demo as demo
    from vaeneer.errors import VaeneerError as VaeneerError
    from vaeneer.evaluation.calibrate import CalibrationReport as CalibrationReport
    from vaeneer.evaluation.calibrate import calibrate as calibrate
    from vaeneer.evaluation.evaluate import evaluate as evaluate
    from vaeneer.evaluation.similarity import similarity as similarity
    from vaeneer.generate import reconstruct as reconstruct
    from vaeneer.generate import sample as sample
    from vaeneer.inspection import info as info
    from vaeneer.inspection import stats as stats
    from vaeneer.library.duplicates.duplicates import duplicates as duplicates
    from vaeneer.library.embed.embed import embed as embed
    from vaeneer.library.embed.tables import merge_vectors as merge_vectors
    from vaeneer.library.index.index import index as index
    from vaeneer.library.library import Library as Library
    from vaeneer.library.map.map import cluster as cluster
    from vaeneer.library.map.map import map as map
    from vaeneer.library.outliers import outliers as outliers
    from vaeneer.library.search.search import Hit as Hit
    from vaeneer.library.search.search import search as search
    from vaeneer.library.search.search import search_words as search_words
    from vaeneer.model.checkpoint import load as load
    from vaeneer.model.checkpoint import save as save
    from vaeneer.model.embedder import Embedder as Embedder
    from vaeneer.model.vae import VAE as VAE
    from vaeneer.model.weights import import_weights as import_weights
    from vaeneer.serving.server import serve as serve
    from vaeneer.settings import CalibrateSettings as CalibrateSettings
    from vaeneer.settings import ClusterSettings as ClusterSettings
    from vaeneer.settings import DuplicatesSettings as DuplicatesSettings
    from vaeneer.settings import EmbedSettings as EmbedSettings
    from vaeneer.settings import EvaluateSettings as EvaluateSettings
    from vaeneer.settings import IndexSettings as IndexSettings
    from vaeneer.settings import MapSettings as MapSettings
    from vaeneer.settings import OutliersSettings as OutliersSettings
    from vaeneer.settings import PrepareSettings as PrepareSettings
    from vaeneer.settings import ReadoutSettings as ReadoutSettings
    from vaeneer.settings import SearchSettings as SearchSettings
    from vaeneer.settings import ServeSettings as ServeSettings
    from vaeneer.settings import SimilaritySettings as SimilaritySettings
    from vaeneer.settings import TrainSettings as TrainSettings
    from vaeneer.training.train import train as train

_HOMES = {
    "CalibrateSettings": "settings",
    "CalibrationReport": "evaluation.calibrate",
    "ClusterSettings": "settings",
    "DuplicatesSettings": "settings",
    "EmbedSettings": "settings",
    "Embedder": "model.embedder",
    "EvaluateSettings": "settings",
    "Hit": "library.search.search",
    "IndexSettings": "settings",
    "Library": "library.library",
    "MapSettings": "settings",
    "OutliersSettings": "settings",
    "PrepareSettings": "settings",
    "ReadoutSettings": "settings",
    "SearchSettings": "settings",
    "ServeSettings": "settings",
    "SimilaritySettings": "settings",
    "TrainSettings": "settings",
    "VAE": "model.vae",
    "VaeneerError": "errors",
    "calibrate": "evaluation.calibrate",
    "cluster": "library.map.map",
    "demo": "demonstration",
    "doctor": "checkup",
    "duplicates": "library.duplicates.duplicates",
    "embed": "library.embed.embed",
    "evaluate": "evaluation.evaluate",
    "import_weights": "model.weights",
    "index": "library.index.index",
    "info": "inspection",
    "load": "model.checkpoint",
    "map": "library.map.map",
    "merge_vectors": "library.embed.tables",
    "outliers": "library.outliers",
    "prepare": "data.prepare",
    "reconstruct": "generate",
    "sample": "generate",
    "save": "model.checkpoint",
    "search": "library.search.search",
    "search_words": "library.search.search",
    "serve": "serving.server",
    "similarity": "evaluation.similarity",
    "stats": "inspection",
    "synthesize": "data.synthetic.synthesize",
    "train": "training.train",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version  # alone as slow to import as all of this module

        return version("vaeneer")
    if name not in _HOMES:
        raise AttributeError(f"module 'vaeneer' has no attribute {name!r}")
    value = getattr(import_module(f"vaeneer.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
