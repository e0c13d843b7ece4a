from .catalog.catalog import Catalog
from .client.async_client import AsyncClient
from .client.client import Client
from .client.serving_error import ServingError
from .config import Config, DataConfig, ModelConfig, StageConfig, TrainingConfig
from .data.importers.clothing_co_parsing import import_clothing_co_parsing
from .data.importers.coco import import_coco
from .data.importers.download import download
from .data.importers.outfits import import_outfits
from .data.importers.synthesize import synthesize
from .data.pairs import Pairs
from .data.preparing.prepare import prepare
from .data.preparing.records import read_records
from .data.reading.readers import read_pairs, read_shop_the_look
from .data.triplets import pair_batches, triplets
from .errors import InputError
from .evaluation.compare import compare
from .evaluation.evaluate import evaluate
from .layers.category_attention import CategoryAttention
from .layers.hybrid_distance import HybridDistance
from .layers.region_cropping import RegionCropping
from .layers.scene_query import SceneQuery
from .layers.style_projection import StyleProjection
from .layers.uniform_attention import UniformAttention
from .losses.triplet_loss import TripletLoss
from .metrics.triplet_metrics import (
    ActiveTriplets,
    DistanceSpread,
    HitAtK,
    MeanReciprocalRank,
    NegativeDistance,
    PositiveDistance,
    TripletAccuracy,
)
from .models.backbone import Backbone
from .models.complete_the_look import CompleteTheLook
from .retrieval.embedding import build_catalog
from .retrieval.exact_index import ExactIndex
from .retrieval.faiss_index import FaissIndex
from .retrieval.milvus_index import MilvusIndex
from .retrieval.recommender import Recommender
from .servable.export import export
from .servable.local_model import LocalModel
from .training.calibration import Calibration, fit_calibration
from .training.feature_cache import CachedFeatures, cache_features
from .training.run import load_run, train

__all__ = [
    "ActiveTriplets",
    "AsyncClient",
    "Backbone",
    "CachedFeatures",
    "Calibration",
    "Catalog",
    "CategoryAttention",
    "Client",
    "CompleteTheLook",
    "Config",
    "DataConfig",
    "DistanceSpread",
    "ExactIndex",
    "FaissIndex",
    "HitAtK",
    "HybridDistance",
    "InputError",
    "LocalModel",
    "MeanReciprocalRank",
    "MilvusIndex",
    "ModelConfig",
    "NegativeDistance",
    "Pairs",
    "PositiveDistance",
    "Recommender",
    "RegionCropping",
    "SceneQuery",
    "ServingError",
    "StageConfig",
    "StyleProjection",
    "TrainingConfig",
    "TripletAccuracy",
    "TripletLoss",
    "UniformAttention",
    "build_catalog",
    "cache_features",
    "compare",
    "download",
    "evaluate",
    "export",
    "fit_calibration",
    "import_clothing_co_parsing",
    "import_coco",
    "import_outfits",
    "load_run",
    "pair_batches",
    "prepare",
    "read_pairs",
    "read_records",
    "read_shop_the_look",
    "synthesize",
    "train",
    "triplets",
]
