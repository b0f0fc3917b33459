"""From the bytes of a file to its text."""

from __future__ import annotations

import codecs
import gzip
import re
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
        if b"brain.Event:" in content[:64]:
            raise CurveError(f"{path}: a compressed event file; unpack it")
    _refuse_known(path, content)
    text = _text_of(content)
    notes = []
    if "\0" in text:  # A machine that lost power may leave them at the end of a file.
        text = text.replace("\0", "")
        notes.append("There were null bytes in the file, which were ignored.")
    if any(char < " " and char not in "\t\n\r\x08\x0c\x1b" for char in text[:1000]):
        raise CurveError(f"{path}: a binary file; known are {known}")
    if "\x1b" in text or "\x08" in text:  # Colours, and a progress bar that goes back.
        text = re.sub(r"\x08+", " ", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07", "", text))
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise CurveError(f"{path}: the file is empty; the training wrote nothing, or elsewhere")
    return text, notes


_LOAD = (
    "it may run any code when it is loaded, so it is not loaded here. If you trust whoever made it, load it with "
    "pickle.load and give the dictionary to keras_lrplateau.recordings.objects.from_history, or write it with json.dump"
)

_SIGNATURES = (
    (rb"\x80[\x02-\x05]|[\]}]q\x00|\(?[dl]p\d+\n|c[\w.]+\n\w+\n", f"a pickle; {_LOAD}"),
    (
        rb"PK\x03\x04|\xd0\xcf\x11\xe0",
        "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    ),
    (rb"BZh\d1AY|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf", "a compressed file; unpack it, or compress it with gzip"),
    (
        rb"\x89HDF\r\n",
        "an HDF5 file, such as a model of Keras, which holds no curve; give the log of its training",
    ),
    (rb"\x93NUMPY", "an array of NumPy; save it as CSV with a line of names"),
    (
        rb"PAR1|ARROW1|FEA1",
        "a Parquet or Feather file; load it with pandas and give the frame to recordings.objects.from_frame",
    ),
    (rb"SQLite format 3", "an SQLite database, such as MLflow's or Optuna's; export the metrics of a run as CSV"),
    (rb"%PDF|\x89PNG|\xff\xd8\xff|GIF8", "a picture or a document; give the file that it was drawn from"),
    (rb"\s*<(?:!DOCTYPE|html|svg|table|\?xml)", "a web page or a picture; give the file that it was made from"),
)
"""How files begin that are no recordings, and what to do with them."""


def _refuse_known(path: str, content: bytes) -> None:
    for beginning, what in _SIGNATURES:
        if re.match(beginning, content[:200], re.IGNORECASE if beginning.startswith(rb"\s") else 0):
            raise CurveError(f"{path}: {what}")


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


_TIMESTAMP = re.compile(
    r"[ \t]*[\[(]?(?:\d{4}[-/]\d\d[-/]\d\d[T ]|\d\d/\d\d[ ])?\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?[\])]?"
    r"(?:[ \t|:-]*\[?(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\]?)?[ \t]*(?:[:|-][ \t]+)?"
)
"""What loggers write before each line: a time, and perhaps how serious it is."""


def without_timestamps(text: str) -> str | None:
    """The text without the time before its lines; None if most lines have none."""
    lines = text.split("\n")
    filled = [line for line in lines if line.strip()]
    found = [_TIMESTAMP.match(line) for line in lines]
    if 2 * sum(match is not None for match in found) <= len(filled):
        return None
    return "\n".join(line if match is None else line[match.end() :] for line, match in zip(lines, found, strict=True))
