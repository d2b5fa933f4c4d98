"""A web page in one file: text, tables, figures and images, with nothing fetched from anywhere.

It follows the reader's light or dark setting and fits a phone. Everything given as text is escaped.
`document` the page, `cells` of its tables, `intervals` drawn beside each other, `pictures` in it.
"""

from sslkit.page.cells import Cell, Noted
from sslkit.page.document import Page
from sslkit.page.intervals import Interval
from sslkit.page.pictures import Tile

__all__ = ["Cell", "Interval", "Noted", "Page", "Tile"]
