"""Complete the Look for Keras and TensorFlow Serving."""

from ctl_keras import quiet  # isort: skip  # noqa: F401  (before TensorFlow)
from ctl_keras.config import Config, DataConfig, ModelConfig, StageConfig, TrainingConfig
from ctl_keras.data.annotations import read_shop_the_look
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.records import prepare, read_records
from ctl_keras.data.synthesize import synthesize
from ctl_keras.data.triplets import pair_batches, triplets
from ctl_keras.errors import InputError
from ctl_keras.evaluation.compare import compare
from ctl_keras.evaluation.evaluate import evaluate
from ctl_keras.export.export import export
from ctl_keras.layers.category_attention import CategoryAttention
from ctl_keras.layers.hybrid_distance import HybridDistance
from ctl_keras.layers.region_cropping import RegionCropping
from ctl_keras.layers.scene_query import SceneQuery
from ctl_keras.layers.style_projection import StyleProjection
from ctl_keras.layers.uniform_attention import UniformAttention
from ctl_keras.losses.triplet_loss import TripletLoss
from ctl_keras.metrics.triplet_metrics import (
    ActiveTriplets,
    DistanceSpread,
    HitAtK,
    MeanReciprocalRank,
    NegativeDistance,
    PositiveDistance,
    TripletAccuracy,
)
from ctl_keras.models.backbone import Backbone
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.retrieval.recommend import recommend
from ctl_keras.serving.local import LocalModel
from ctl_keras.training.calibration import Calibration, fit_calibration
from ctl_keras.training.feature_cache import CachedFeatures, cache_features
from ctl_keras.training.run import load_run, train

__all__ = [
    "ActiveTriplets",
    "Backbone",
    "CachedFeatures",
    "Calibration",
    "CategoryAttention",
    "CompleteTheLook",
    "Config",
    "DataConfig",
    "DistanceSpread",
    "HitAtK",
    "HybridDistance",
    "InputError",
    "LocalModel",
    "MeanReciprocalRank",
    "ModelConfig",
    "NegativeDistance",
    "Pairs",
    "PositiveDistance",
    "RegionCropping",
    "SceneQuery",
    "StageConfig",
    "StyleProjection",
    "TrainingConfig",
    "TripletAccuracy",
    "TripletLoss",
    "UniformAttention",
    "cache_features",
    "compare",
    "evaluate",
    "export",
    "fit_calibration",
    "load_run",
    "pair_batches",
    "prepare",
    "read_records",
    "read_shop_the_look",
    "recommend",
    "synthesize",
    "train",
    "triplets",
]
