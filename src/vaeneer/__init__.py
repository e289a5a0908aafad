"""vaeneer: learn, measure and search the surfaces of a material library with a VAE.

Public names are imported when they are first used, so that `import vaeneer` is instant and does
not import PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaeneer.benchmarking.benchmark import bench as bench
    from vaeneer.data.prepare import prepare as prepare
    from vaeneer.data.synthetic.synthesize import synthesize as synthesize
    from vaeneer.demo import demo as demo
    from vaeneer.doctor import doctor as doctor
    from vaeneer.errors import VaeneerError as VaeneerError
    from vaeneer.evaluation.calibrate import CalibrationReport as CalibrationReport
    from vaeneer.evaluation.calibrate import calibrate as calibrate
    from vaeneer.evaluation.evaluate import evaluate as evaluate
    from vaeneer.evaluation.similarity import similarity as similarity
    from vaeneer.generate import reconstruct as reconstruct
    from vaeneer.generate import sample as sample
    from vaeneer.info import info as info
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
    from vaeneer.library.search.words import search_words as search_words
    from vaeneer.library.stats import stats as stats
    from vaeneer.model.checkpoint import load as load
    from vaeneer.model.checkpoint import save as save
    from vaeneer.model.embedder import Embedder as Embedder
    from vaeneer.model.vae import VAE as VAE
    from vaeneer.model.weights import import_weights as import_weights
    from vaeneer.serving.server import serve as serve
    from vaeneer.settings.training import BenchSettings as BenchSettings
    from vaeneer.settings.training import CalibrateSettings as CalibrateSettings
    from vaeneer.settings.training import ClusterSettings as ClusterSettings
    from vaeneer.settings.training import DuplicatesSettings as DuplicatesSettings
    from vaeneer.settings.training import EmbedSettings as EmbedSettings
    from vaeneer.settings.training import EvaluateSettings as EvaluateSettings
    from vaeneer.settings.training import IndexSettings as IndexSettings
    from vaeneer.settings.training import MapSettings as MapSettings
    from vaeneer.settings.training import OutliersSettings as OutliersSettings
    from vaeneer.settings.training import PrepareSettings as PrepareSettings
    from vaeneer.settings.training import ReadoutSettings as ReadoutSettings
    from vaeneer.settings.training import SearchSettings as SearchSettings
    from vaeneer.settings.training import ServeSettings as ServeSettings
    from vaeneer.settings.training import SimilaritySettings as SimilaritySettings
    from vaeneer.settings.training import TrainSettings as TrainSettings
    from vaeneer.training.train import train as train

_HOMES = {
    "BenchSettings": "config",
    "CalibrateSettings": "config",
    "CalibrationReport": "measuring.calibration",
    "ClusterSettings": "config",
    "DuplicatesSettings": "config",
    "EmbedSettings": "config",
    "Embedder": "model.embedder",
    "EvaluateSettings": "config",
    "Hit": "library.searching",
    "IndexSettings": "config",
    "Library": "library.library",
    "MapSettings": "config",
    "OutliersSettings": "config",
    "PrepareSettings": "config",
    "ReadoutSettings": "config",
    "SearchSettings": "config",
    "ServeSettings": "config",
    "SimilaritySettings": "config",
    "TrainSettings": "config",
    "VAE": "model.vae",
    "VaeneerError": "errors",
    "bench": "benchmarking.benchmark",
    "calibrate": "measuring.calibration",
    "cluster": "library.mapping",
    "demo": "demonstration",
    "doctor": "doctor",
    "duplicates": "library.duplicates",
    "embed": "library.embedding",
    "evaluate": "measuring.evaluation",
    "import_weights": "model.importing",
    "index": "library.indexing",
    "info": "inspection",
    "load": "model.checkpoint",
    "map": "library.mapping",
    "merge_vectors": "library.vector_shards",
    "outliers": "library.outliers",
    "prepare": "data.preparation",
    "reconstruct": "generating.drawing",
    "sample": "generating.drawing",
    "save": "model.checkpoint",
    "search": "library.searching",
    "search_words": "library.words",
    "serve": "serving.running",
    "similarity": "measuring.similarity",
    "stats": "library.census",
    "synthesize": "data.synthetic",
    "train": "training.loop",
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
