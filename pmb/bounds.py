"""How large what comes from outside may be; all limits on files, tables, models and rows of the store are here."""

from __future__ import annotations

# A user's own table, and the files of GLUE.
MOST_MEGABYTES = 200  # of a table
MOST_GLUE_MEGABYTES = 1000  # of a file of GLUE: MNLI's has the grammar of each sentence in it
MOST_UNPACKED_MEGABYTES = 1000  # of a Parquet file, once its compression and its dictionaries are undone
MOST_ROWS = 500_000
MOST_COLUMNS = 1000
MOST_CELLS = 20_000_000  # rows × columns
MOST_HEADER_CHARACTERS = 100_000  # of a file's first row, which may name the columns
MOST_ROW_CHARACTERS = 1_000_000  # of any other row
MOST_CELL_CHARACTERS = 100_000
MOST_CLASSES = 50

# A look into files of a stranger: what the process that reads them may hold and take, and more for each MB of them.
LOOK_MEGABYTES, LOOK_MEGABYTES_A_MEGABYTE = 2000, 8
LOOK_SECONDS, LOOK_SECONDS_A_MEGABYTE = 120, 1

# A folder with a model.
MOST_LAYERS = 500  # also groups, blocks and experts: whatever makes a library build modules
LARGEST_SETTING = 10_000_000  # any whole number in a model's config, such as the size of its vocabulary
MOST_JSON_MEGABYTES = 5  # of config.json and of an index of weights
MOST_TOKENIZER_MEGABYTES = 100  # of each file of a tokenizer

# What a person types.
MOST_DIGITS = 9  # of a whole number in an address or an option
MOST_NAME_CHARACTERS = 4096  # of a model, a task or a path
MOST_TRIED = 20  # sentences at a time
MOST_TRIED_CHARACTERS = 10_000  # of a sentence that is tried
MOST_TRIED_MODELS = 3
