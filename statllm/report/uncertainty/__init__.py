"""The page about the uncertainty scores of a table of answers; `page` has the entry."""
