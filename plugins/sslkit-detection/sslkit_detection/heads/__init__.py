"""One file per detector; each is built as `Head(info, task, **options)`."""
