"""SavedModels and their versions: found, loaded, warmed up, batched, swapped."""
