"""Streams of tasks: data modules for Lightning, task distributions, and shard sets of images.

Importing this package is cheap; each name below is imported from its module when it is first used.

Data modules, which a configuration names by their class paths: `Episodes` (any task distribution), `ImageEpisodes`
(of one set of images or of several, each an `ImageSource`),
`FixedEpisodes` (prescribed episodes of images), `Sinusoid`, `Worlds`. To add a task distribution, derive
from `Tasks`; see its example.

Samplers choose the classes of an episode, and how many images of each, in place of `ImageEpisodes`' own uniform choice:
`MetaDataset`, `ConfiguredSize`, or a `Sampler` of your own.

Augmentations change the images of training, on the device: `Crop`, `ResizedCrop`, `Flip`, `Affine`, `ColourJitter`, `Erase`,
or an `Augmentation` of your own. `RotateClasses`, or a `ClassAugmentation` of your own, makes new classes.

Shard sets: `write_folder`, `write_omniglot`, `write_caltech101`, `write_fonts` and `write_glyphs` write one from a source,
`write_shards` from any classes of images, `write_features` one of features; `index_sources` makes one of tars, parquet
files, folders and lists without copying an image. `ShardSet` reads one:

    from pathlib import Path
    import numpy as np
    from datamodules import ShardSet, write_folder

    written = write_folder(Path("photos"), Path("shards/photos"), size=84)
    print(written.summary())
    shards = ShardSet("shards/photos")
    record = shards.index.split("test")[0]
    images = shards.images(record, np.arange(5))  # uint8 [5, 3, 84, 84]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.augmentation.geometry import Affine, Crop, Flip, ResizedCrop
    from datamodules.augmentation.image_changes import Augmentation
    from datamodules.augmentation.new_classes import ClassAugmentation, RotateClasses
    from datamodules.augmentation.pixels import ColourJitter, Erase
    from datamodules.episode_data import EpisodeData
    from datamodules.episodes import Episodes
    from datamodules.fixed_episodes import FixedEpisodes
    from datamodules.images import ImageEpisodes
    from datamodules.index.opening import read_index
    from datamodules.index.shard_index import Index
    from datamodules.reading.image_source import ImageSource
    from datamodules.reading.preprocess import Preprocess
    from datamodules.reading.shard_set import ShardSet
    from datamodules.sampling.composition import Composer, Composition, Sampler, SplitClasses
    from datamodules.sampling.configured_size import ConfiguredSize
    from datamodules.sampling.episode_size import EpisodeSize
    from datamodules.sampling.episodes import EpisodeStream, Tasks
    from datamodules.sampling.image_tasks import ImageTasks
    from datamodules.sampling.meta_batches import Key
    from datamodules.sampling.meta_dataset import MetaDataset
    from datamodules.scanning.index_sources import index_sources
    from datamodules.sinusoid import Sinusoid, SinusoidTasks
    from datamodules.sources.caltech101 import write_caltech101
    from datamodules.sources.folder import write_folder
    from datamodules.sources.fonts import write_fonts
    from datamodules.sources.glyph_set import write_glyphs
    from datamodules.sources.omniglot import write_omniglot
    from datamodules.worlds import Worlds
    from datamodules.writing.features import write_features
    from datamodules.writing.shards import ClassImages, write_shards
    from datamodules.writing.task_file import task_yaml

_MODULES = {
    "datamodules.augmentation.geometry": ["Affine", "Crop", "Flip", "ResizedCrop"],
    "datamodules.augmentation.image_changes": ["Augmentation"],
    "datamodules.augmentation.new_classes": ["ClassAugmentation", "RotateClasses"],
    "datamodules.augmentation.pixels": ["ColourJitter", "Erase"],
    "datamodules.episode_data": ["EpisodeData"],
    "datamodules.episodes": ["Episodes"],
    "datamodules.fixed_episodes": ["FixedEpisodes"],
    "datamodules.images": ["ImageEpisodes"],
    "datamodules.index.opening": ["read_index"],
    "datamodules.index.shard_index": ["Index"],
    "datamodules.reading.image_source": ["ImageSource"],
    "datamodules.reading.preprocess": ["Preprocess"],
    "datamodules.reading.shard_set": ["ShardSet"],
    "datamodules.sampling.composition": ["Composer", "Composition", "Sampler", "SplitClasses"],
    "datamodules.sampling.configured_size": ["ConfiguredSize"],
    "datamodules.sampling.episode_size": ["EpisodeSize"],
    "datamodules.sampling.episodes": ["EpisodeStream", "Tasks"],
    "datamodules.sampling.image_tasks": ["ImageTasks"],
    "datamodules.sampling.meta_batches": ["Key"],
    "datamodules.sampling.meta_dataset": ["MetaDataset"],
    "datamodules.scanning.index_sources": ["index_sources"],
    "datamodules.sinusoid": ["Sinusoid", "SinusoidTasks"],
    "datamodules.sources.caltech101": ["write_caltech101"],
    "datamodules.sources.folder": ["write_folder"],
    "datamodules.sources.fonts": ["write_fonts"],
    "datamodules.sources.glyph_set": ["write_glyphs"],
    "datamodules.sources.omniglot": ["write_omniglot"],
    "datamodules.worlds": ["Worlds"],
    "datamodules.writing.features": ["write_features"],
    "datamodules.writing.shards": ["ClassImages", "write_shards"],
    "datamodules.writing.task_file": ["task_yaml"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # noqa: RUF022  in the order of the docstring
    "Episodes",
    "ImageEpisodes",
    "ImageSource",
    "FixedEpisodes",
    "Sinusoid",
    "Worlds",
    "EpisodeData",
    "Tasks",
    "SinusoidTasks",
    "ImageTasks",
    "Key",
    "EpisodeSize",
    "EpisodeStream",
    "Sampler",
    "MetaDataset",
    "ConfiguredSize",
    "SplitClasses",
    "Composition",
    "Composer",
    "Augmentation",
    "Crop",
    "ResizedCrop",
    "Flip",
    "Affine",
    "ColourJitter",
    "Erase",
    "ClassAugmentation",
    "RotateClasses",
    "write_folder",
    "write_omniglot",
    "write_caltech101",
    "write_fonts",
    "write_glyphs",
    "index_sources",
    "write_shards",
    "write_features",
    "task_yaml",
    "ClassImages",
    "Preprocess",
    "ShardSet",
    "Index",
    "read_index",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
