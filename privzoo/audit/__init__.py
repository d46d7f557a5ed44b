"""Measurements of models: what they reveal to the service, and to an attacker."""
