"""Opens and resolves alerts, and attributes their drift. `consumers.error_impact` adds the impact on the error."""
