"""From recorded studies to data frames, tables and figures; nothing here trains, and nothing imports torch or Ray."""
