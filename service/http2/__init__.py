"""HTTP/2 (RFC 9113) for a server of many small requests: frames, header blocks, connections."""
