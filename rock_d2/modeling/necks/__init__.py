"""Necks. Importing this package registers them; a new neck adds one line here."""

from rock_d2.modeling.necks.flat import FlatMTL
from rock_d2.modeling.necks.heads import HeadsNeck
from rock_d2.modeling.necks.identity import IdentityNeck
from rock_d2.modeling.necks.mti_net import MTINet
from rock_d2.modeling.necks.neck import NECK_REGISTRY, Neck, build_neck
from rock_d2.modeling.necks.pad_net import PADNet
from rock_d2.modeling.necks.rock import ROCK
