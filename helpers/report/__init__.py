"""What a report shows of a run: answers, tables, charts, pictures, and the page."""
