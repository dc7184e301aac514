"""What pyproject.toml cannot say: an installed package brings the files that experiments read."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BOOK = Path(__file__).parent / "book"
# Claims, references, the look of pages; published values, records and the recorded benchmark.
READ = (
    "claims.csv",
    "papers.yml",
    "references.bib",
    "_static",
    "published",
    "records",
    "benchmarks",
)


class BuildWithBook(build_py):
    """Copies those files to `companion/_book`, where `companion.lab.catalog` looks for them."""

    def run(self) -> None:
        """Build as usual, then copy; an editable installation reads them in the checkout."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "companion" / "_book"
        for name in READ:
            source = BOOK / name
            if source.is_dir():
                shutil.copytree(source, target / name, dirs_exist_ok=True)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)


setup(cmdclass={"build_py": BuildWithBook})
