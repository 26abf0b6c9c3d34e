"""Checks an installation, its machine, a server and a model repository.

Each function yields findings. They need only what the client needs: a missing package is a finding.
"""

from service.doctor.finding import Finding, FindingState
from service.doctor.installation import installation
from service.doctor.machine_checks import machine
from service.doctor.model_checks import models
from service.doctor.provider_checks import providers
from service.doctor.server_checks import server

__all__ = ["Finding", "FindingState", "installation", "machine", "models", "providers", "server"]
