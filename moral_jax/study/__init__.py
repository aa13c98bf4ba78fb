"""Many runs, one page: `spec` (the content of a study file), `jobs` (cells on disk), `runner`, `collect`, `sweep`."""
