"""What somebody values, from pairs: which pairs are asked, utilities that fit the answers, and what follows from them.

`plan` says which pairs are asked next, `thurstone` and `bradley_terry` fit utilities, `coherence`, `exchange` and
`extras` ask whether these hang together, `measure` brings all of it into numbers. Formulas: docs/elicit.md, after arXiv
2502.08640.
"""
