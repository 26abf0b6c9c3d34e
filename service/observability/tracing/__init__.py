"""OpenTelemetry traces of calls, an extra: only imported where tracing is on."""
