"""A blind rating of answers by people, and what the ratings say."""
