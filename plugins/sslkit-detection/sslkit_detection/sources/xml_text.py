"""XML from strangers: parsed without entities, so that a small file cannot grow or reach for others."""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from sslkit.errors import DataError

_LARGEST = 16 * 2**20  # bytes; annotations of one image are a few thousand


def parsed(raw: bytes) -> Element:
    """The root of an XML text; raises DataError, with line and column where it is broken."""
    if len(raw) > _LARGEST:
        raise DataError(f"{len(raw)} bytes of XML for one image; at most {_LARGEST} are read")
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse  # entities can be declared nowhere else
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.buffer_text = True
    try:
        parser.Parse(raw, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two of unknown encodings
        if not isinstance(error, expat.ExpatError):
            raise DataError(f"broken XML ({error})") from error
        reason = expat.ErrorString(error.code)
        raise DataError(f"line {error.lineno}, column {error.offset + 1}: broken XML ({reason})") from error
    return builder.close()


def text_of(element: Element, name: str) -> str | None:
    """The text of a child, without spaces around; None where there is none."""
    text = element.findtext(name)
    return text.strip() or None if text else None


def number_of(element: Element, name: str) -> float | None:
    """The number in a child, NaN included; None where it is missing or no number."""
    try:
        return float(element.findtext(name) or "")
    except ValueError:
        return None


def _refuse(*declaration: object) -> None:
    raise DataError("declares a document type or entities, which annotations do not need; take <!DOCTYPE out")
