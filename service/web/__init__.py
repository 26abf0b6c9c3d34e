"""The page: what the service answers, to look at in a browser, over HTTP and JSON.

In: requests of browsers, or of curl. Out: the page's files, and answers of the gRPC server, or of a model in
this process where there is no server. ``app`` puts the parts together, ``openapi`` describes the interface.
"""
