"""Programs that the machine's own release has too old or not at all, from a later one.

``python -m sandboxes.host.tools fetch`` gets them at set-up, into ``tools`` of the templates
folder. Nothing is installed into the system; the daemon reads what is there (``later.find``).
"""
