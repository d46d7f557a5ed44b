"""Measurements of models: what they tell the service, and what they tell an attacker."""
