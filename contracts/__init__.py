"""What crosses a border: envelope, facts, submissions, answers, topics. Imports pydantic and the standard library only."""
