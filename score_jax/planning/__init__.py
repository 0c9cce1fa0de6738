"""From a dataset to the grid its network works on."""
