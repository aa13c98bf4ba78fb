"""Judges: text to numbers. The same judge is a metric, a filter and a reward.

| module | what it does |
|---|---|
| `base` | the contract: what is judged, and what a judge says of itself |
| `table` | all judges by name, and how a setting names them |
| `rules` | rules on texts: what a reply holds, how long it is |
| `refusal` | is it a refusal? patterns on how a reply begins |
| `lexicon` | sentiment, profanity, words with values |
| `rubric` | questions about a reply that a respondent answers |
| `people` | what people said of the same replies |
| `rewards` | several judges added with weights |
"""
