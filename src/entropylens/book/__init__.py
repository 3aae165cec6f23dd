"""The book's machinery: notebooks are executed by papermill, then published by Jupyter Book.

`project` knows where things lie, `keys` when an executed copy is current, `execute` and `worker` run notebooks,
`build` and `extension` publish them. Nothing here is imported by a notebook.
"""

import sys

# nbformat imports jsonschema, which can check addresses in any alphabet by a package that builds a grammar when it is
# imported: a second or more in each process. Nobody here asks for that check, and jsonschema does without.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
