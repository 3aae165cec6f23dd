"""The book's machinery: notebooks are executed by papermill, then published by Jupyter Book.

`project` knows where things lie, `keys` when an executed copy is current, `execute` and `worker` run notebooks,
`build` and `extension` publish them. Nothing here is imported by a notebook.
"""
