"""What crosses a border: envelope, facts, submissions, answers, topics. Imports pydantic and the standard library only.

How fields are named, and what the name promises:

- `..._on` is a calendar day in the alliance's zone (Europe/Berlin), `..._at` and `as_of` are moments.
- An interval begins on `starts_on`, `started_on`, `valid_from_on`: the first day that belongs to it.
- It ends either on `last_..._on` (`last_valid_on`, `last_day_on`): the last day that still belongs to it; or by
  `..._before_on` (`ends_before_on`, `ended_before_on`): the first day that no longer belongs to it. No other name ends one.
- Any other day is the day on which something was done: `requested_on`, `answered_on`, `meeting_on`. From `withdrawn_on` on,
  that day included, what was withdrawn holds no more.
- `..._id` names one thing and is a UUID; only organisations have names of their own (`..._organisation_id`).
- Codes of lists are words in capitals (`DROPPED_OUT`); what the envelope says of itself is in lower case (`recorded`,
  `person`, `mended`). Keys of others, such as municipalities and languages, are written as their lists write them.
- `kind` says which of several things it is, `reason` why it is so.
- What is optional may be left out of a submission, or be null, which says the same. What we write leaves it out.
- A whole number may be written 36.0, which is 36.
- Two messages that differ in such ways alone are one statement (the second is `unchanged`) and two contents, since content is
  the body's bytes as sent: under the first one's id the second is ID_REUSED. Who sends again sends the same bytes.
"""
