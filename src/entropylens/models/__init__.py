"""Field-standard modules for ONE model, which a population of models can run through as well."""
