"""Fusions. Importing this package registers them; a new fusion adds one line here."""

from rock_d2.modeling.fusions.attention import AttentionFusion
from rock_d2.modeling.fusions.base import FUSION_REGISTRY, DecoderFusion
from rock_d2.modeling.fusions.context import ContextFusion
from rock_d2.modeling.fusions.gated import GatedFusion
from rock_d2.modeling.fusions.none import NoFusion
from rock_d2.modeling.fusions.product import ProductFusion
from rock_d2.modeling.fusions.sum import SumFusion
