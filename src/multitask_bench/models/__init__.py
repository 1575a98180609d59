"""Models: what a name means, how a conversation becomes tokens, and how tokens are generated."""
