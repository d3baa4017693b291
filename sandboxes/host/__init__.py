"""The root daemon that runs sandboxes: runtime, agent, network, disks, journals. No Django."""
