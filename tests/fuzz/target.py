"""What can be fuzzed: an input of the project that is right at first, and what is done with it."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from fuzz.mutations import Generator, changed_bytes


class Target(ABC):
    """An input of the project.

    Attributes:
        names: texts of which a refusal has to name one; files are among them.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path):
        """
        Args:
            folder: for the inputs; nothing else is in it.
        """
        self.folder = folder
        self.names: tuple[str, ...] = (str(folder),)

    @abstractmethod
    def change(self, rng: Generator) -> str:
        """Writes an input that is damaged somehow, and tells how."""

    @abstractmethod
    def use(self) -> None:
        """What the project does with such an input."""


class BinaryFile(Target):
    """One file whose bytes are damaged.

    Attributes:
        file: where it lies.
        original: what it holds when it is right.
    """

    file: Path
    original: bytes

    def change(self, rng: Generator) -> str:
        what, content = changed_bytes(rng, self.original)
        self.file.write_bytes(content)
        return what
