"""`/v1` over HTTP: routes parse, call one service or selector, and reply."""
