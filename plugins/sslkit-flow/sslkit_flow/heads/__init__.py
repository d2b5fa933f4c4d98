"""One file per head; each is an nn.Module built as `Head(info, task, **options)`."""
