"""Its folder goes on the import path, so that tests can share `naive` and `mutate`."""
