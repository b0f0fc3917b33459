"""From the bytes of a file to its text."""

from __future__ import annotations

import codecs
import gzip
import zlib

from keras_lrplateau.recordings.recording import CurveError


def decode(path: str, content: bytes, known: str) -> tuple[str, list[str]]:
    """The text in a file, with a newline as the end of each line.

    Args:
        path: The file, for errors.
        content: Its bytes; may be gzipped, in any encoding of Windows, with null bytes at the end.
        known: The forms that are known, for errors.

    Returns:
        The text, which holds something but spaces; and what was odd.

    Raises:
        CurveError: It is no text, or an empty one.
    """
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raise CurveError(f"{path}: the gzip archive is damaged or cut off; unpack what is left with zcat") from None
    if content.startswith(b"PK\x03\x04"):
        raise CurveError(f"{path}: a zip archive or an Excel workbook; unpack it, or save the sheet as CSV")
    text = _text_of(content)
    notes = []
    if "\0" in text:  # A machine that lost power may leave them at the end of a file.
        text = text.replace("\0", "")
        notes.append("There were null bytes in the file, which were ignored.")
    if any(char < " " and char not in "\t\n\r\x08\x0c\x1b" for char in text[:1000]):
        raise CurveError(f"{path}: a binary file; known are {known}")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise CurveError(f"{path}: the file is empty; the training wrote nothing, or elsewhere")
    return text, notes


def _text_of(content: bytes) -> str:
    """The text, by its byte order mark. Without one it is UTF-8, or else Latin-1, in which any bytes are a text."""
    if content.startswith(codecs.BOM_UTF8):
        return content.decode("utf-8-sig", "replace")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # Windows PowerShell's redirection.
        return content.decode("utf-16", "replace")
    if len(content) > 8 and content[1:200:2].count(0) > 0.8 * len(content[1:200:2]):
        return content.decode("utf-16-le", "replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")
