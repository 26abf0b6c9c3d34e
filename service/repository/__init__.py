"""The model repository: versions in a folder, loaded, served, and replaced while the server runs."""

from service.repository.index import IndexEntry, OtherWorkers, VersionState
from service.repository.loading import Loaded, load_models
from service.repository.repository import Repository
from service.repository.served_model import ServedModel

__all__ = ["IndexEntry", "Loaded", "OtherWorkers", "Repository", "ServedModel", "VersionState", "load_models"]
