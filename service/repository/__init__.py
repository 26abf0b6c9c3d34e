"""The models of a server: what lies in the repository, what of it answers, and how that changes."""

from service.repository.index import IndexEntry, State
from service.repository.loading import Loaded, load_models
from service.repository.other_workers import Elsewhere
from service.repository.repository import Repository
from service.repository.served_model import ServedModel

__all__ = ["Elsewhere", "IndexEntry", "Loaded", "Repository", "ServedModel", "State", "load_models"]
