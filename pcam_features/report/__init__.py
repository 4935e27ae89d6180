"""Reports: self-contained HTML pages, Markdown, and model cards, rendered from records."""
