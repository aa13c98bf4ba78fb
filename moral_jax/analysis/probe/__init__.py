"""What hidden states hold: probes beside control labels, and how the states of two models agree.

`count.count` makes all numbers of a page, from `subject.Subject`, the states of every respondent on the same rows.
"""
