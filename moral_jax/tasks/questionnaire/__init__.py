"""Questionnaires: folders of rows and conditions that anybody can be asked, without code.

- `folder`: task.toml, which files, which tally
- `questions`: rows to questions, in the format of a folder or of any table
- `conditions`: what is crossed with every row: policies, personas, prompts, wordings
- `labels`: map.csv, which labels a tag has
- `cross`: questions x conditions to rows that can be asked
"""
