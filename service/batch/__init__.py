"""Jobs over whole collections of pictures: sources to rows, by a model in this process or by a server."""
