"""Many runs, one page: `spec` (what a config file says), `jobs` (cells on disk), `runner`, `collect`, `sweep`."""
