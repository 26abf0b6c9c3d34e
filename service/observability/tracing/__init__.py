"""OpenTelemetry tracing of calls; an extra, imported only if tracing is on."""
