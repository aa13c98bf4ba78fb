"""Tallies: numbers from the answers to questionnaires. A tally reads records and nothing else.

`base` has what tallies are made of, `count` runs one, and every other module is one. A new tally is a function that
yields measures, and a row of `count.TALLIES`.
"""
