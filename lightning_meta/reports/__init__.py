"""Results as text, tables, Markdown, JSON and figures."""
