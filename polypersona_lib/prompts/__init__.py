"""From a card and a question to tokens: messages, chat templates, label mask, guard against control text, token view."""
