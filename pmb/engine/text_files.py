"""Text files of strangers: their encoding, and their lines, none of them longer than the bounds allow."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pmb.bounds import MOST_HEADER_CHARACTERS, MOST_ROW_CHARACTERS, MOST_ROWS
from pmb.errors import BadInput

CHUNK_BYTES = 1 << 20
SAMPLE_BYTES = 1 << 16  # of lines with letters beyond ASCII, from which an encoding is guessed
MOST_FOREIGN = 0.6  # of the letters in words that are not all ASCII: more are beyond ASCII in another script
WESTERN = "cp1252"  # what Windows writes in western Europe and the Americas
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, with whose mark it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file that can be decoded from its first byte to its last."""

    path: Path
    encoding: str
    has_newlines: bool  # else its lines end with carriage returns
    has_quotes: bool
    has_escaped_quotes: bool  # a backslash before a quote
    notes: tuple[str, ...] = ()

    def open(self, newline: str) -> TextIO:
        """Open the file to be read; `newline` is that of the built-in `open`."""
        return self.path.open(encoding=self.encoding, newline=newline)


class Lines(Iterator[str]):
    """The lines of an open file, with their ends; raises BadInput for a row that is too long before it is read whole.

    Whoever reads says `next_row` where one begins: a row of several lines counts as long as all of them.
    """

    def __init__(self, file: TextIO, name: str) -> None:
        """Begin with the first line."""
        self.number = 0  # of the line that was read last
        self.name = name
        self._file, self._characters, self._rows = file, 0, 0
        self._first = True

    def __next__(self) -> str:
        """The next line."""
        most = MOST_HEADER_CHARACTERS if self._first else MOST_ROW_CHARACTERS
        line = self._file.readline(most + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self._characters += len(line)
        if self._characters > most:
            what = (
                f"has a first row of more than {most:,} characters"
                if self._first
                else (f"line {self.number}: the row has more than {most:,} characters")
            )
            raise BadInput(f"{self.name} {what}.")
        return line

    def next_row(self) -> None:
        """The next line begins another row; raises BadInput where there are too many of them and of empty lines."""
        self._characters, self._first, self._rows = 0, False, self._rows + 1
        if self._rows > 2 * MOST_ROWS:
            raise BadInput(f"{self.name} has more than {2 * MOST_ROWS:,} rows and empty lines.")


def look_into(path: Path, encoding: str = "") -> TextFile:
    """Find out a file's encoding, unless one is named, and that all of it is text; raises BadInput, OSError."""
    if encoding:
        return _decoded(path, _known_encoding(encoding))
    with path.open("rb") as file:
        head = file.read(CHUNK_BYTES)
    if marked := next((name for mark, name in MARKS if head.startswith(mark)), ""):
        return _decoded(path, marked, () if marked == "utf-8-sig" else (f"It is {marked.upper()}.",))
    if wide := _wide_without_mark(head):
        return _decoded(path, wide, (f"It has no mark of its encoding and was read as {wide.upper()}.",))
    try:
        return _decoded(path, "utf-8")
    except _NotDecodable as problem:
        guessed, word = _guess(path)
        if not guessed:
            raise
        note = f"It is not UTF-8 (byte {problem.byte}) and was read as {guessed}, for example {word!r}."
        return _decoded(path, guessed, (note,))


class _NotDecodable(BadInput):
    def __init__(self, path: Path, encoding: str, byte: int) -> None:
        name = encoding.upper() if encoding.startswith("utf") else encoding
        super().__init__(
            f"{path.name} is not {name}: byte {byte} cannot be read; save it as UTF-8, or name its "
            f"encoding, such as &encoding={WESTERN}."
        )
        self.byte = byte


def _known_encoding(name: str) -> str:
    """A text encoding of Python by its usual name; raises BadInput."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=name)  # some codecs are not of text, such as zip
        found = codecs.lookup(name)
        found.decode(b"")
    except (LookupError, ValueError) as error:
        raise BadInput(
            f"Encoding {name[:40]!r} is not known; utf-8, utf-16 and {WESTERN} are some that are."
        ) from error
    return found.name


def _decoded(path: Path, encoding: str, notes: tuple[str, ...] = ()) -> TextFile:
    """Decode the whole file once, in parts; raises BadInput where a byte cannot be, or is NUL."""
    decoder = codecs.getincrementaldecoder(encoding)()
    place, has_newlines, has_quotes, has_escaped_quotes, end = 0, False, False, False, ""
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK_BYTES)
            held = len(decoder.getstate()[0])
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise _NotDecodable(path, encoding, place - held + error.start) from None
            if (at := text.find("\0")) >= 0:
                byte = place - held + len(text[:at].encode(encoding, "replace"))
                raise BadInput(f"{path.name} is no text: byte {byte} is NUL.")
            has_newlines = has_newlines or "\n" in text
            has_quotes = has_quotes or '"' in text
            has_escaped_quotes = has_escaped_quotes or '\\"' in end + text
            if not chunk:
                return TextFile(path, encoding, has_newlines, has_quotes, has_escaped_quotes, notes)
            place, end = place + len(chunk), text[-1:]


def _wide_without_mark(head: bytes) -> str:
    """UTF-16 whose text is mostly ASCII: every second byte is NUL."""
    even, odd = head[::2], head[1::2]
    if 2 * odd.count(0) > len(odd) > 0 and not even.count(0):
        return "utf-16-le"
    if 2 * even.count(0) > len(even) > 0 and not odd.count(0):
        return "utf-16-be"
    return ""


def _guess(path: Path) -> tuple[str, str]:
    """WESTERN where the text can be that, and a word that shows how it reads; nothing where it cannot.

    A file that is UTF-8 but for a few bytes is not: its other letters would be read as nonsense. Nor is text in
    another script, whose encodings no library that was tried tells apart in a few sentences.
    """
    sample = bytearray()
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(CHUNK_BYTES), b""):
            if not line.isascii():
                sample += line
            if len(sample) > SAMPLE_BYTES:
                break
    as_utf_8 = sample.decode("utf-8", errors="replace")
    if sum(not letter.isascii() for letter in as_utf_8) > 2 * as_utf_8.count("\ufffd"):
        return "", ""
    try:
        words = [word for word in sample.decode(WESTERN).split() if not word.isascii()]
    except UnicodeDecodeError:
        return "", ""
    letters = "".join(words)
    if sum(not letter.isascii() for letter in letters) > MOST_FOREIGN * len(letters):
        return "", ""
    return WESTERN, words[0][:40]
