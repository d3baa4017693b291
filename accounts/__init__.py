"""Accounts, the people in them and their roles, scoped tokens, plans, and the audit record."""
