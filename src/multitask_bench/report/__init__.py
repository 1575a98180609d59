"""The report: sentence, tables, figures, one HTML file."""
