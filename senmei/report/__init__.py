"""Pages made from the files of a run: figures, tables, methods text. Reads files; knows only core and io."""
