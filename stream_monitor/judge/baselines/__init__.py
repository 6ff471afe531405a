"""Recent baselines, seasonality and centroids: what each measure is judged against now."""
