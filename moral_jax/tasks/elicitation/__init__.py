"""What an elicitation asks: outcomes, pairs of them, and the same with invented words.

`outcomes` reads and checks them, `pairs` makes questions, `invented` takes the meaning of words away, `extras` has the
questions on time and on open choices, `assembly` the shares of people that a model is brought to.
"""
