"""What makes the book: chapters, pages, ledger, citations, the offline site. No torch here."""
