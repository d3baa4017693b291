"""The Django project, the operators' pages and sockets, and what `make up` does (`launch/`)."""
