"""Reports: Markdown and HTML pages with their figures."""
