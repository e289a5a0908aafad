"""Every setting once: name, type, default, range, unit and help.

Only the standard library is imported.
"""

from vaeneer.settings.base import LARGEST_SEED as LARGEST_SEED
from vaeneer.settings.base import SEED as SEED
from vaeneer.settings.base import Count as Count
from vaeneer.settings.base import CountOrZero as CountOrZero
from vaeneer.settings.base import Seed as Seed
from vaeneer.settings.base import check as check
from vaeneer.settings.base import range_in_words as range_in_words
from vaeneer.settings.base import with_changes as with_changes
from vaeneer.settings.commands import CalibrateSettings as CalibrateSettings
from vaeneer.settings.commands import ClusterSettings as ClusterSettings
from vaeneer.settings.commands import DuplicatesSettings as DuplicatesSettings
from vaeneer.settings.commands import EmbedSettings as EmbedSettings
from vaeneer.settings.commands import EvaluateSettings as EvaluateSettings
from vaeneer.settings.commands import IndexSettings as IndexSettings
from vaeneer.settings.commands import MapSettings as MapSettings
from vaeneer.settings.commands import OutliersSettings as OutliersSettings
from vaeneer.settings.commands import PrepareSettings as PrepareSettings
from vaeneer.settings.commands import ReadoutSettings as ReadoutSettings
from vaeneer.settings.commands import ScaleGap as ScaleGap
from vaeneer.settings.commands import SearchOptions as SearchOptions
from vaeneer.settings.commands import SearchSettings as SearchSettings
from vaeneer.settings.commands import ServeSettings as ServeSettings
from vaeneer.settings.commands import SimilaritySettings as SimilaritySettings
from vaeneer.settings.training import ARCHITECTURES as ARCHITECTURES
from vaeneer.settings.training import INVARIANCES as INVARIANCES
from vaeneer.settings.training import RECIPES as RECIPES
from vaeneer.settings.training import RECONSTRUCTIONS as RECONSTRUCTIONS
from vaeneer.settings.training import SAMPLES as SAMPLES
from vaeneer.settings.training import SURFACE_SIDE_PX as SURFACE_SIDE_PX
from vaeneer.settings.training import SURFACES as SURFACES
from vaeneer.settings.training import USUAL_LIGHT as USUAL_LIGHT
from vaeneer.settings.training import WIDE_SCALE_MIN as WIDE_SCALE_MIN
from vaeneer.settings.training import ColorJitter as ColorJitter
from vaeneer.settings.training import Recipe as Recipe
from vaeneer.settings.training import SidePx as SidePx
from vaeneer.settings.training import TrainSettings as TrainSettings
from vaeneer.settings.training import default_recipe as default_recipe
from vaeneer.settings.training import has_recipe as has_recipe
from vaeneer.settings.training import invariances as invariances
from vaeneer.settings.training import read_sections as read_sections
from vaeneer.settings.training import read_settings as read_settings
from vaeneer.settings.training import unknown_name as unknown_name
