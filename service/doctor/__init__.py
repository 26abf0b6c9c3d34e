"""Looks at an installation, its machine, a server and a repository, and says what is not well.

Each of these functions yields findings. They need no more than the client does: what is missing is a finding.
"""

from service.doctor.finding import Finding, State
from service.doctor.installation import installation
from service.doctor.machine_checks import machine
from service.doctor.model_checks import models
from service.doctor.provider_checks import providers
from service.doctor.server_checks import server

__all__ = ["Finding", "State", "installation", "machine", "models", "providers", "server"]
