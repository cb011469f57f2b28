"""From a capture to a bank, and from a bank to feature activations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from saeflow.artifacts.catalog import QUALITY
from saeflow.artifacts.features import shape_metadata
from saeflow.artifacts.provenance import Provenance, metadata_of
from saeflow.artifacts.tables import read_schema, read_table, write_table
from saeflow.config.dictionaries import DictionarySettings
from saeflow.models.conventions import LayerConvention
from saeflow.saes.bank import Bank, Recipe
from saeflow.saes.encode import encode_long
from saeflow.saes.quality import SiteMetric, bank_quality
from saeflow.saes.sites import bank_sites, read_sites
from saeflow.saes.storage import load_bank, save_bank, weight_digests
from saeflow.saes.train import fixed_bank, train_bank
