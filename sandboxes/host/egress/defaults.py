"""The allowlist a platform starts with. Operators edit it as rows; this only fills them once.

Package registries are not written here: ``registries`` asks the machine's own package clients.
"""

from __future__ import annotations

CODE_HOSTING = (
    "bitbucket.org",
    "codeberg.org",
    "github.com",
    "githubusercontent.com",
    "gitlab.com",
)
LLM_APIS = (
    "api.anthropic.com",
    "api.cohere.com",
    "api.deepseek.com",
    "api.groq.com",
    "api.mistral.ai",
    "api.openai.com",
    "api.together.xyz",
    "api.x.ai",
    "generativelanguage.googleapis.com",
    "huggingface.co",
    "openrouter.ai",
)
