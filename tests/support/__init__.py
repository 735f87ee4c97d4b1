"""Real peers for tests: a reactor in a thread, private servers on loopback, certificates made on the spot."""
