"""Jupyter Book's command line in a process of its own that ends when `entropylens build` does."""

from __future__ import annotations

from entropylens.book.files import die_with_parent


def main() -> None:
    """Run `jupyter-book` with this process's arguments."""
    die_with_parent()
    from jupyter_book.cli.main import main as jupyter_book

    jupyter_book()


if __name__ == "__main__":
    main()
